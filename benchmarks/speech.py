"""What is taken for speech in music and noise: by the network and energy together, as jobs do, and by energy alone.

    python -m benchmarks.speech SPEECH...

SPEECH: clean voices, mono, 16 kHz; where they speak, their own energy tells. Each is mixed with every sound of
benchmarks.sounds. Prints, for each kind and ratio, the share of speech that is found and the share of pauses in which
lips would move; pauses without the 0.4 s next to speech, where borders blur. Then the same of each sound by itself, of
clean voices (where both must agree), and seconds of work a minute of sound.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.sounds import MUSIC, NOISES, RATE, Sound, at_ratio, in_room, whispered
from media.audio.speech_network import SpeechNetwork
from media.audio.voice_activity import find_loud, find_speech, measure_levels
from media.intervals import Interval, complement, intersect

RATIOS = (5, 10, 20)
"""Decibels of speech over the other sound."""
NEAR = round(0.4 * RATE)
SECONDS = 30
"""Of each voice; a fifth of silence is put behind it."""
KINDS: Mapping[str, Mapping[str, Callable[[float], Sound]]] = {"music": MUSIC, "noise": NOISES}


def total(parts: Sequence[Interval]) -> int:
    """Return how many samples intervals hold."""
    return sum(stop - start for start, stop in parts)


def by_energy(sound: Sound) -> Sequence[Interval]:
    """Return what is loud enough for speech."""
    return find_loud(measure_levels([sound[None]], RATE), RATE)


class Counter:
    """Adds up what was found of speech and of pauses, by each way."""

    def __init__(self, network: SpeechNetwork) -> None:
        self._network = network
        self._found = np.zeros((2, 2), np.int64)
        self._there = np.zeros(2, np.int64)

    def count(self, sound: Sound, spoken: Sequence[Interval], *, near: int = NEAR) -> None:
        """Add one sound. spoken: where it speaks."""
        gaps = complement(spoken, 0, len(sound))
        pauses = [(start + near, stop - near) for start, stop in gaps if stop - start > 2 * near]
        ways = (find_speech([sound[None]], self._network).spoken, by_energy(sound))
        self._found += [[total(intersect(way, part)) for part in (spoken, pauses)] for way in ways]
        self._there += (total(spoken), total(pauses))

    def row(self, name: str) -> str:
        """Return the line of the table."""
        shares = self._found / np.maximum(self._there, 1)
        cells = [
            f"{share:.3f}" if there else "-"
            for share, there in zip(shares.T.ravel(), self._there.repeat(2), strict=True)
        ]
        return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    network, voices = SpeechNetwork(), []
    for path in map(Path, sys.argv[1:]):
        samples, rate = soundfile.read(path, dtype="float32", stop=SECONDS * RATE)
        if rate != RATE or samples.ndim != 1:
            raise SystemExit(f"{path}: mono of 16 kHz is wanted.")
        voices.append(np.concatenate([samples, np.zeros(len(samples) // 5, np.float32)]))
    print("| sound | speech found | by energy | pauses that move lips | by energy |\n|---|---|---|---|---|")
    clean = Counter(network)
    for voice in voices:
        clean.count(voice, by_energy(voice))
    print(clean.row("clean voices"))
    for kind, makers in KINDS.items():
        others = {name: make(SECONDS * 1.2) for name, make in makers.items()}
        for ratio in RATIOS:
            counter = Counter(network)
            for voice in voices:
                spoken = by_energy(voice)
                marks = np.zeros(len(voice), bool)
                for start, stop in spoken:
                    marks[start:stop] = True
                for other in others.values():
                    counter.count(at_ratio(voice, marks, other, ratio), spoken)
            print(counter.row(f"speech {ratio} dB over {kind}"), flush=True)
        for name, other in others.items():
            alone = Counter(network)
            for sound in (other, in_room(other)):
                alone.count(sound, (), near=0)
            print(alone.row(f"{name} alone"), flush=True)
    for name, changed in (("in a room", in_room), ("whispered", whispered)):
        counter = Counter(network)
        for voice in voices:
            made = changed(voice)
            counter.count(made, by_energy(made))
        print(counter.row(name))
    start = time.process_time()
    find_speech([voices[0][None]], network)
    print(f"\n{(time.process_time() - start) / len(voices[0]) * RATE * 60:.2f} s of work a minute of sound")


if __name__ == "__main__":
    main()
