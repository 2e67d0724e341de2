"""How well speech is found over music and noise, by silero-vad and by energy alone, and how exact its borders are.

    python -m benchmarks.speech [--seconds 40] [--out build/bench/speech]

Clean speech of the shared clips and of the demonstration, its stretches 0.6 to 3 s apart in digital silence, is laid
over music and noise that a program makes (benchmarks/sounds.py), 20, 10 and 5 dB below it, dry and in a room. What the
energy finds in the clean speech is the truth, but for breath. Printed are the share of speech that is found, and the
share of its pauses that would move lips; then the same of voices that hardly sound like speech, and of music and noise
alone; and how far borders in clean speech lie from those of the energy.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.material import ROOT, shared_folder
from benchmarks.sounds import (
    MUSIC,
    NOISES,
    RATE,
    Sound,
    at_ratio,
    beastly,
    in_room,
    resampled,
    robotic,
    sung,
    whispered,
)
from demo.make_material import DUB_FILE
from media.audio.reader import read_samples
from media.audio.speech_network import SpeechNetwork
from media.audio.voice_activity import Speech, find_loud, find_speech, measure_levels
from media.intervals import Interval

RATIOS_DB = (20, 10, 5)
CLIPS = ("dub_a.wav", "dub_b.wav", "dub_c.wav", "dub_english_60s.wav", "head_01_512.mp4", "head_04_512.mp4")
PITCHES = (0.45, 0.6, 1.8, 2.5)
SOUND_STREAM = {".mp4": 1, ".wav": 0, ".flac": 0}
SHORTEST, LONGEST = 0.6, 3.0
"""Seconds between stretches of speech."""
LEAST_FOUND, MOST_WRONG = 0.92, 0.12
"""What must be found of speech over each music and noise, and what may be taken for speech of its pauses."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector finds, as shares of the speech and of its pauses."""

    speech: float
    pauses: float


@dataclass(frozen=True, slots=True)
class Row:
    """What is found of speech beside something else."""

    beside: str
    decibels: float
    """How far that lies below the speech."""
    network: Found
    energy: Found


def load(path: Path) -> Sound:
    """Return a file's sound."""
    blocks = read_samples(path, stream_index=SOUND_STREAM[path.suffix], rate=RATE, layout="mono")
    return np.concatenate(list(blocks), axis=1)[0]


def by_energy(sound: Sound) -> Sequence[Interval]:
    """Return what is as loud as speech."""
    return find_loud(measure_levels([sound[None]], RATE), RATE)


def flags(parts: Sequence[Interval], count: int) -> Flags:
    """Return intervals as a flag a sample."""
    found = np.zeros(count, bool)
    for start, stop in parts:
        found[start:stop] = True
    return found


def spaced(speech: Sound, seed: int) -> tuple[Sound, Flags]:
    """Return speech with silence between its stretches, and where it speaks."""
    random = np.random.default_rng(seed)
    parts, spoken = [np.zeros(RATE, np.float32)], [np.zeros(RATE, bool)]
    for start, stop in by_energy(speech):
        pause = round(random.uniform(SHORTEST, LONGEST) * RATE)
        parts += [speech[start:stop], np.zeros(pause, np.float32)]
        spoken += [np.ones(stop - start, bool), np.zeros(pause, bool)]
    return np.concatenate(parts), np.concatenate(spoken)


def compare(pairs: Sequence[tuple[Flags, Flags]]) -> Found:
    """Return the shares over all sounds. pairs: where each speaks, and where it was found to."""
    truth, found = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return Found(float(found[truth].mean()), float(found[~truth].mean()))


def mixtures(seconds: float) -> Iterator[tuple[str, Sound | None, float]]:
    """Yield a name, what is heard beside speech, and how many dB below it."""
    yield "clean", None, 0
    for name, make in {**MUSIC, **NOISES}.items():
        other = make(seconds)
        for decibels in RATIOS_DB:
            yield name, other, decibels


def measure_mixtures(speech: dict[str, Sound], network: SpeechNetwork) -> list[Row]:
    """Print and return what is found of speech over each music and noise."""
    cases = [spaced(sound, seed) for seed, sound in enumerate(speech.values())]
    longest = max(len(sound) for sound, _ in cases) / RATE
    rows: list[Row] = []
    print(f"{'beside speech':18} {'dB':>4}   {'silero-vad and energy':^22}   {'energy alone':^16}")
    print(f"{'':23}   {'speech':>10} {'pauses':>10}    {'speech':>7} {'pauses':>7}")
    for name, other, decibels in mixtures(longest):
        for room in ("", ", room"):
            heard = [in_room(sound) if room else sound for sound, _ in cases]
            truths = [spoken for _, spoken in cases]
            if other is not None:
                heard = [at_ratio(sound, spoken, other, decibels) for sound, spoken in zip(heard, truths, strict=True)]
            finds = {
                "network": [flags(find_speech([sound[None]], network).spoken, len(sound)) for sound in heard],
                "energy": [flags(by_energy(sound), len(sound)) for sound in heard],
            }
            found = {by: compare(list(zip(truths, each, strict=True))) for by, each in finds.items()}
            new, old = found["network"], found["energy"]
            print(
                f"{name + room:18} {decibels:4.0f}   {new.speech:10.1%} {new.pauses:10.1%}   {old.speech:8.1%}"
                f" {old.pauses:7.1%}",
                flush=True,
            )
            rows.append(Row(name + room, decibels, new, old))
    return rows


def measure_voices(speech: dict[str, Sound], network: SpeechNetwork) -> None:
    """Print how much moves lips of what is loud in strange voices, and in music and noise alone."""
    one = next(iter(speech.values()))
    alone = {name: make(20) for name, make in {**MUSIC, **NOISES}.items()}
    alone |= {f"{name}, room": in_room(sound, 1.0) for name, sound in alone.items()}
    voices = {
        "whisper": [whispered(sound) for sound in speech.values()],
        "robot": [robotic(sound) for sound in speech.values()],
        "singing": [sung(sound) for sound in speech.values()],
        **{f"pitch x {each}": [resampled(sound, each) for sound in speech.values()] for each in PITCHES},
        "animal": [beastly(20, seed) for seed in range(4)],
        "animal, room": [in_room(beastly(20, seed), 1.0) for seed in range(4)],
        **{f"{name}, alone": [sound] for name, sound in alone.items()},
    }
    print(f"\n{'voice':18} {'moves lips':>10}   by energy   (share of what is loud)")
    for name, sounds in voices.items():
        found: list[Speech] = [find_speech([sound[None]], network) for sound in sounds]
        loud = [flags(by_energy(sound), len(sound)) for sound in sounds]
        moves = np.concatenate([flags(each.spoken, len(every))[every] for each, every in zip(found, loud, strict=True)])
        num_foreign = sum(each.found_by == "energy" for each in found)
        print(f"{name:18} {moves.mean():10.1%}   {num_foreign:2} of {len(found)}")
    began = time.process_time()
    find_speech([one[None]], network)
    print(f"\nspeed: {len(one) / RATE / (time.process_time() - began):.0f} times as fast as the sound, on one core")


def measure_borders(speech: dict[str, Sound], network: SpeechNetwork) -> None:
    """Print how far borders in clean speech lie from those of the energy alone, and how much of it is the same."""
    print(f"\n{'clean speech':22} {'same samples':>12} {'lost':>7} {'won':>7}")
    starts, stops = [], []
    for name, sound in speech.items():
        found, loud = find_speech([sound[None]], network).spoken, by_energy(sound)
        new, old = flags(found, len(sound)), flags(loud, len(sound))
        print(f"{name:22} {(new == old).mean():12.2%} {(old & ~new).mean():7.2%} {(new & ~old).mean():7.2%}")
        for start, stop in loud:
            inside = [part for part in found if part[0] < stop and start < part[1]]
            if inside:
                starts.append((inside[0][0] - start) / RATE)
                stops.append((stop - inside[-1][1]) / RATE)
    for what, each in (("begins later", starts), ("ends earlier", stops)):
        late = np.array(each)
        others = ", ".join(f"{each:.2f}" for each in np.sort(late[late != 0]))
        print(f"{what}: 0.00 s at {(late == 0).sum()} of {len(late)} stretches; {others or 'no others'}")


def main() -> None:
    """Run and print; the exit code is 1 if too little speech is found, or too much is taken for it, somewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each voice")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "speech")
    arguments = parser.parse_args()
    shared = shared_folder()
    paths = [*([shared / "clips" / name for name in CLIPS] if shared else []), DUB_FILE]
    speech = {path.name: load(path)[: round(arguments.seconds * RATE)] for path in paths}
    network = SpeechNetwork()
    rows = measure_mixtures(speech, network)
    measure_voices(speech, network)
    measure_borders(speech, network)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "speech.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    sys.exit(int(any(row.network.speech < LEAST_FOUND or row.network.pauses > MOST_WRONG for row in rows)))


if __name__ == "__main__":
    main()
