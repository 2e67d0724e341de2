"""Sounds made by a program: music, noise, rooms, and voices that hardly sound like speech. All mono, 16 kHz, float32.

What is random in them comes from a seed: the same call returns the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE = 16_000
Sound = NDArray[np.float32]

CHORDS = ((0, 4, 7, 12), (-3, 0, 4, 9), (-7, -3, 0, 5), (-5, -1, 2, 7))
"""Semitones above middle C: C, A minor, F, G."""
BAR_SECONDS = 2.0
FFT, HOP = 512, 128
"""Of the vocoder that makes voices."""
ENVELOPE_COEFFICIENTS = 24
"""Of the cepstrum: the shape of a vocal tract, without the pitch."""


def level(sound: Sound) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def at_ratio(speech: Sound, spoken: NDArray[np.bool_], other: Sound, decibels: float) -> Sound:
    """Return speech over another sound so many dB below it, while it speaks; scaled if peaks exceed 1."""
    gain = level(speech[spoken]) / level(other) * 10 ** (-decibels / 20)
    mixed = speech + gain * np.resize(other, len(speech))
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())), np.float32)


# Music.


def pad_music(seconds: float, seed: int = 0) -> Sound:
    """Return soft chords that swell, one a bar."""
    sound = np.zeros(_count(seconds), np.float64)
    for bar, start in enumerate(_beats(seconds, BAR_SECONDS)):
        length = min(_count(BAR_SECONDS * 1.2), len(sound) - start)
        swell = np.sin(np.pi * np.arange(length) / _count(BAR_SECONDS * 1.2))
        for note in CHORDS[(bar + seed) % len(CHORDS)]:
            sound[start : start + length] += swell * _tone(_hertz(note), length, harmonics=6, vibrato=0.003)
    return _normal(sound)


def piano_music(seconds: float, seed: int = 1) -> Sound:
    """Return a melody of struck strings over broken chords, eight notes a bar."""
    random = np.random.default_rng(seed)
    sound = np.zeros(_count(seconds), np.float64)
    for number, start in enumerate(_beats(seconds, BAR_SECONDS / 8)):
        chord = CHORDS[number // 8 % len(CHORDS)]
        for note in (chord[number % 4] - 12, chord[int(random.integers(4))] + 12):
            length = min(_count(1.2), len(sound) - start)
            decay = np.exp(-4 * np.arange(length) / RATE)
            sound[start : start + length] += decay * _tone(_hertz(note), length, harmonics=8)
    return _normal(sound)


def melody_music(seconds: float, seed: int = 2) -> Sound:
    """Return a single bowed line with vibrato, which is close to what a voice does."""
    random = np.random.default_rng(seed)
    sound = np.zeros(_count(seconds), np.float64)
    for number, start in enumerate(_beats(seconds, 0.5)):
        note = CHORDS[number // 4 % len(CHORDS)][int(random.integers(4))]
        length = min(_count(0.5), len(sound) - start)
        bow = np.minimum(1, np.minimum(np.arange(length), length - 1 - np.arange(length)) / _count(0.05))
        sound[start : start + length] += bow * _tone(_hertz(note), length, harmonics=12, vibrato=0.01)
    return _normal(sound)


def drum_music(seconds: float, seed: int = 3) -> Sound:
    """Return bass drum, snare and hi-hat."""
    random = np.random.default_rng(seed)
    sound = np.zeros(_count(seconds), np.float64)
    for number, start in enumerate(_beats(seconds, BAR_SECONDS / 8)):
        length = min(_count(0.25), len(sound) - start)
        time = np.arange(length) / RATE
        noise = random.standard_normal(length)
        hit = 0.3 * np.diff(noise, prepend=0) * np.exp(-60 * time)
        if number % 4 == 0:
            hit += 2 * np.sin(2 * np.pi * (50 * time + 8 * (1 - np.exp(-15 * time)))) * np.exp(-12 * time)
        if number % 4 == 2:
            hit += (0.8 * noise + np.sin(2 * np.pi * 190 * time)) * np.exp(-20 * time)
        sound[start : start + length] += hit
    return _normal(sound)


def band_music(seconds: float, seed: int = 4) -> Sound:
    """Return all of them together, with a bass."""
    bass = np.zeros(_count(seconds), np.float64)
    for number, start in enumerate(_beats(seconds, BAR_SECONDS / 4)):
        length = min(_count(BAR_SECONDS / 4), len(bass) - start)
        note = CHORDS[number // 4 % len(CHORDS)][0] - 24
        bass[start : start + length] += _tone(_hertz(note), length, harmonics=4) * np.exp(-3 * np.arange(length) / RATE)
    parts = (pad_music, piano_music, drum_music, melody_music)
    return _normal(_normal(bass) + sum(part(seconds, seed + at) for at, part in enumerate(parts)))


MUSIC: dict[str, Callable[[float], Sound]] = {
    "pads": pad_music,
    "piano": piano_music,
    "melody": melody_music,
    "drums": drum_music,
    "band": band_music,
}


# Noise.


def coloured_noise(seconds: float, slope: float, seed: int = 5) -> Sound:
    """Return noise whose power falls as frequency ** slope: 0 white, 1 pink, 2 brown."""
    count = _count(seconds)
    bins = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    shape = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20.0) ** (-slope / 2)
    return _normal(np.fft.irfft(bins * shape, count))


def breath_noise(seconds: float, seed: int = 6) -> Sound:
    """Return breaths: noise between 500 and 4000 Hz that swells for 0.6 s, every 1.5 s."""
    count = _count(seconds)
    random = np.random.default_rng(seed)
    bins = np.fft.rfft(random.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    airy = np.fft.irfft(bins / (1 + (500 / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / 4000) ** 4), count)
    swell = np.zeros(count)
    for start in _beats(seconds, 1.5):
        length = min(_count(0.6), count - start)
        swell[start : start + length] = np.sin(np.pi * np.arange(length) / _count(0.6)) ** 2
    return _normal(airy * swell)


def hum_noise(seconds: float, seed: int = 7) -> Sound:
    """Return a machine: 50 Hz and its harmonics, and some pink noise."""
    return _normal(_tone(50.0, _count(seconds), harmonics=20) + 0.3 * coloured_noise(seconds, 1, seed))


NOISES: dict[str, Callable[[float], Sound]] = {
    "white": lambda seconds: coloured_noise(seconds, 0),
    "pink": lambda seconds: coloured_noise(seconds, 1),
    "brown": lambda seconds: coloured_noise(seconds, 2),
    "breath": breath_noise,
    "hum": hum_noise,
}


def in_room(sound: Sound, seconds: float = 0.5, seed: int = 8) -> Sound:
    """Return a sound in a room whose echo falls by 60 dB in so many seconds, as loud as its direct part times 0.5."""
    random = np.random.default_rng(seed)
    time = np.arange(_count(seconds)) / RATE
    echo = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    response = np.concatenate([[1.0], 0.5 * echo / np.linalg.norm(echo)])
    length = len(sound) + len(response)
    wet = np.fft.irfft(np.fft.rfft(sound, length) * np.fft.rfft(response, length), length)[: len(sound)]
    return np.asarray(wet / max(1.0, float(np.abs(wet).max())), np.float32)


# Voices, made from speech.


def whispered(speech: Sound, seed: int = 9) -> Sound:
    """Return speech without its voice: noise in the shape of its vocal tract."""
    return _vocoded(speech, np.random.default_rng(seed).standard_normal(len(speech)))


def robotic(speech: Sound, hertz: float = 110.0) -> Sound:
    """Return speech on one pitch that never changes."""
    return _vocoded(speech, _pulses(np.full(len(speech), hertz)))


def sung(speech: Sound) -> Sound:
    """Return speech at half its pace, each half second held on a note of a chord, with vibrato."""
    slow = _stretched(speech, 2)
    steps = [np.full(_count(0.5), _hertz(note - 5)) for chord in CHORDS for note in chord]
    hertz = np.resize(np.concatenate(steps), len(slow))
    return _vocoded(slow, _pulses(hertz * (1 + 0.02 * np.sin(2 * np.pi * 5.5 * np.arange(len(slow)) / RATE))))


def resampled(speech: Sound, factor: float) -> Sound:
    """Return speech at another speed, as a tape has it: 1.8 gives a cartoon's mouse, 0.6 a giant."""
    at = np.arange(0, len(speech) - 1, factor)
    return np.interp(at, np.arange(len(speech)), speech).astype(np.float32)


def beastly(seconds: float, seed: int = 10) -> Sound:
    """Return an animal: calls of 0.3 to 0.8 s whose pitch rises and falls between 300 and 900 Hz, with pauses."""
    random = np.random.default_rng(seed)
    sound = np.zeros(_count(seconds), np.float64)
    start = 0
    while start < len(sound):
        length = _count(float(random.uniform(0.3, 0.8)))
        arch = np.sin(np.pi * np.arange(length) / length)
        call = _pulses(float(random.uniform(300, 450)) * (1 + float(random.uniform(0.3, 1.0)) * arch)) * arch
        for centre in (1000.0, 2500.0):
            bins = np.fft.rfftfreq(length, 1 / RATE)
            call = call + 3 * np.fft.irfft(np.fft.rfft(call) / (1 + ((bins - centre) / 300) ** 2), length)
        stop = min(start + length, len(sound))
        sound[start:stop] = call[: stop - start]
        start = stop + _count(float(random.uniform(0.1, 0.7)))
    return _normal(sound)


def _count(seconds: float) -> int:
    return round(seconds * RATE)


def _beats(seconds: float, step: float) -> Sequence[int]:
    return range(0, _count(seconds), _count(step))


def _hertz(semitones: float) -> float:
    return float(261.63 * 2 ** (semitones / 12))


def _tone(hertz: float, count: int, *, harmonics: int, vibrato: float = 0.0) -> NDArray[np.float64]:
    time = np.arange(count) / RATE
    phase = 2 * np.pi * hertz * time - hertz * vibrato / 5 * np.cos(2 * np.pi * 5 * time)
    audible = [number for number in range(1, harmonics + 1) if number * hertz < RATE / 2]
    return np.asarray(sum(np.sin(number * phase) / number for number in audible), np.float64)


def _pulses(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    turns = np.cumsum(hertz) / RATE
    return np.diff(np.floor(turns), prepend=0.0) - np.mean(hertz) / RATE


def _normal(sound: NDArray[np.floating]) -> Sound:
    """Return a sound at a tenth of full scale."""
    return np.asarray(0.1 * sound / np.sqrt(np.mean(np.square(sound))), np.float32)


def _spectra(sound: NDArray[np.floating]) -> NDArray[np.complex128]:
    frames = sliding_window_view(np.pad(sound, FFT // 2), FFT)[::HOP]
    return np.asarray(np.fft.rfft(frames * np.hanning(FFT)), np.complex128)


def _from_spectra(spectra: NDArray[np.complex128], count: int) -> NDArray[np.float64]:
    sound = np.zeros(HOP * len(spectra) + FFT)
    for number, frame in enumerate(np.fft.irfft(spectra, FFT) * np.hanning(FFT)):
        sound[number * HOP : number * HOP + FFT] += frame
    return sound[FFT // 2 : FFT // 2 + count]


def _envelopes(spectra: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the smooth shape of each spectrum, by its lowest cepstral coefficients."""
    cepstra = np.fft.irfft(np.log(np.abs(spectra) + 1e-5), FFT)
    cepstra[:, ENVELOPE_COEFFICIENTS : FFT - ENVELOPE_COEFFICIENTS] = 0
    return np.exp(np.fft.rfft(cepstra).real)


def _vocoded(speech: Sound, source: NDArray[np.float64]) -> Sound:
    """Return a source of sound in the shape of a vocal tract, as loud as the speech at each time."""
    wanted, own = _spectra(speech), _spectra(source)
    own = own / np.maximum(_envelopes(own), 1e-5) * _envelopes(wanted)
    gain = np.linalg.norm(wanted, axis=1) / np.maximum(np.linalg.norm(own, axis=1), 1e-9)
    return _normal(_from_spectra(own * gain[:, None], len(speech)))


def _stretched(speech: Sound, factor: int) -> Sound:
    """Return speech so many times as long, by repeated frames: the pitch is lost, the shape stays."""
    return np.asarray(_from_spectra(np.repeat(_spectra(speech), factor, axis=0), factor * len(speech)), np.float32)
