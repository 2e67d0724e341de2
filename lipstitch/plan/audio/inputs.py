"""The sounds of a job, and where each begins on the clock of the video.

Sound inside a video file counts from that video's first frame. A sound file has no such clock: it was made either on
the picture's clock (an editor's export), or from the sound that was taken out of the video, whose second 0 is that
sound's first sample. Where picture and sound of the source begin apart, the difference is heard.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.notes import SoundNote, check_samples
from lipstitch.source.checks import require_sane_length
from media.audio.reader import SoundLength, first_sample_time, measure_sound
from media.base.errors import ConfigError, MediaError, MissingStream
from media.info import MediaInfo
from media.probe import probe
from media.source_video import SourceVideo
from stitcher.audio.mix import SoundPiece

LENGTH_TOLERANCE_SECONDS = Fraction(1, 10)
"""How much the sound that drives may differ in length from the sound that is heard, and a dub from what it was made
from: separators and converters add or drop a frame of theirs."""
APART_SECONDS = Fraction(1, 1000)
"""Sound and picture that begin nearer to each other than this begin together."""
TOLD_APART_SECONDS = Fraction(2, 1000)
"""How much nearer one length must be than the other, beside half as far, to tell what a dub was made from."""


@dataclass(frozen=True, slots=True)
class AudioInput:
    """One file's sound, with the time that counts as its second 0."""

    info: MediaInfo
    zero: Fraction | None
    """Seconds on the file's clock; None: its first sample."""

    @property
    def lead(self) -> Fraction:
        """Seconds from second 0 to the first sample; negative if the sound begins before."""
        return Fraction(0) if self.zero is None else self._first - self.zero

    @property
    def length(self) -> Fraction:
        """Seconds from second 0 to the end of the sound."""
        return self.sound_seconds + self.lead

    @property
    def sound_seconds(self) -> Fraction:
        """Seconds from the first sample to the end of the sound."""
        return self._measured.seconds

    @property
    def has_own_picture(self) -> bool:
        """Whether the sound belongs to a picture, whose first frame is its second 0."""
        return self.info.video is not None

    @property
    def padded_seconds(self) -> Fraction:
        """Seconds of the sound for programs that hear the padding at its end as well."""
        return self._measured.seconds + self._measured.padding

    @property
    def _measured(self) -> SoundLength:
        return _measure(self.info.path, self.info.require_audio().index)

    @property
    def _first(self) -> Fraction:
        return first_sample_time(self.info.path, self.info.require_audio().index)

    def later(self, seconds: Fraction) -> AudioInput:
        """Return this voice moved to begin so much later; earlier if negative."""
        if not seconds:
            return self
        return replace(self, zero=(self._first if self.zero is None else self.zero) - seconds)

    def piece(self, start: Fraction, output_start: Fraction, output_stop: Fraction) -> SoundPiece:
        """Return a piece of this voice; times in seconds."""
        return SoundPiece(self.info.path, self.info.require_audio().index, self.zero, start, output_start, output_stop)


@dataclass(frozen=True, slots=True)
class AudioInputs:
    """The sounds a job may use."""

    own: AudioInput | None
    """The source's first audio stream."""
    dub: AudioInput | None
    drive: AudioInput | None
    notes: tuple[SoundNote, ...] = ()
    """Where they begin and why, and what is wrong with them."""

    @property
    def heard(self) -> AudioInput:
        """Return the dub, else the source's own sound; raise MissingStream if there is neither."""
        voice = self.dub or self.own
        if voice is None:
            raise MissingStream("input.audio is not given and the video has no sound. Give input.audio.")
        return voice

    @property
    def driving(self) -> AudioInput:
        """Return what drives the lips where no range has a dub of its own."""
        return self.drive or self.heard

    def later(self, seconds: Fraction) -> AudioInputs:
        """Return the same with the dub, and what drives in its place, that much later; earlier if negative."""
        if self.dub is None or not seconds:
            return self
        return replace(self, dub=self.dub.later(seconds), drive=self.drive.later(seconds) if self.drive else None)


def open_audio_inputs(config: JobConfig, video: SourceVideo) -> AudioInputs:
    """Return the sounds of a job, without those of its ranges and speakers.

    Raises MediaError for a file that cannot be used, ConfigError for a start at which nothing would be heard.
    """
    source, table = video.info, video.table
    own = AudioInput(source, table.pts[0] * table.time_base) if source.audio else None
    picture, notes = table.seconds(len(table)), []
    dub = drive = None
    if config.input.audio_file:
        dub, found = open_audio_input("input.audio", config.input.audio_file)
        dub, start = _placed(config, "input.audio", dub, own, picture)
        notes += [*start, *found]
    is_mixed = config.mode == "patch" and config.ranges is not None
    if own is not None and (dub is None or is_mixed):
        has_own_files = any(part.audio for part in config.ranges or ())
        stays = dub is None and config.mode == "patch" and not has_own_files
        notes += check_samples("input.video", own.info, stays=stays)
    if config.input.drive_audio:
        heard = AudioInputs(own, dub, None).heard
        drive, found = open_beside(config, "input.drive_audio", config.input.drive_audio, heard, picture)
        notes += found
    return AudioInputs(own, dub, drive, tuple(notes))


def open_audio_input(key: str, path: Path) -> tuple[AudioInput, list[SoundNote]]:
    """Probe a file for its sound, as it stands on its own clock; return it with what is wrong with its samples.

    key: of the job file, for messages about it.
    """
    voice = open_sound(path)
    return voice, check_samples(key, voice.info)


def open_sound(path: Path) -> AudioInput:
    """Probe a file for its sound, as it stands on its own clock. Raises MediaError."""
    info = probe(path)
    info.require_audio()
    return AudioInput(info, info.video.clock.start_seconds if info.video else None)


def open_beside(
    config: JobConfig, key: str, path: Path, heard: AudioInput, picture: Fraction
) -> tuple[AudioInput, list[SoundNote]]:
    """Open a sound that drives lips in place of the one that is heard; return it placed, with notes on it.

    Beside a dub that is a sound file it begins where that begins: both are versions of one recording. picture: seconds
    of the source's picture.
    """
    voice, found = open_audio_input(key, path)
    if not voice.has_own_picture and not heard.has_own_picture:
        return voice.later(heard.lead), found
    voice, start = _placed(config, key, voice, heard, picture)
    return voice, [*start, *found]


def turns_start(config: JobConfig, heard: AudioInput) -> tuple[Fraction, list[SoundNote]]:
    """Return where second 0 of the turns of speakers lies on the clock of the video, and notes on that.

    They are times of the dub. Those of a video count from its first frame, unless input.audio_start says otherwise.
    """
    setting = config.input.audio_start
    if not heard.has_own_picture:
        return heard.lead, []
    if isinstance(setting, Fraction):
        return setting, []
    lead = _lead_of(heard)
    if setting == "sound":
        return lead, []
    if setting == "video" or abs(lead) <= LENGTH_TOLERANCE_SECONDS:
        return Fraction(0), []
    text = (
        f"the turns of input.speakers count from the first frame, but the sound begins {_apart(lead)}."
        " If they were found in sound that was taken out of the video, set input.audio_start: sound;"
        " if not, input.audio_start: video"
    )
    return Fraction(0), [SoundNote(text, is_warning=True)]


def check_same_length(key: str, driving: AudioInput, heard: AudioInput) -> None:
    """Raise ConfigError if a sound that drives lips cannot run along with the one that is heard."""
    if abs(driving.length - heard.length) > LENGTH_TOLERANCE_SECONDS:
        raise ConfigError(
            f"{key} lasts {float(driving.length):.3f} s, the sound that is heard {float(heard.length):.3f} s."
            " Give two versions of the same recording."
        )


def _measure(path: str, stream_index: int) -> SoundLength:
    """Measure a sound; a job with many ranges asks for the same file again and again, so it is remembered."""
    status = os.stat(path)
    return _measure_version(path, stream_index, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache
def _measure_version(path: str, stream_index: int, _version: tuple[int, int, int]) -> SoundLength:
    measured = measure_sound(path, stream_index)
    require_sane_length(path, measured.seconds)
    return measured


def _placed(
    config: JobConfig, key: str, voice: AudioInput, other: AudioInput | None, picture: Fraction
) -> tuple[AudioInput, list[SoundNote]]:
    """Return a voice where input.audio_start says, and a note where that is not the first frame or not certain.

    other: the sound beside which it is heard, or None. picture: seconds of the source's picture.
    """
    setting = config.input.audio_start
    if setting == "auto":
        if voice.has_own_picture or other is None or abs(lead := _lead_of(other)) <= APART_SECONDS:
            return voice, []
        return _by_length(key, voice, other, lead, picture)
    says = "as input.audio_start says"
    if isinstance(setting, Fraction):
        if not -voice.length < setting < picture:
            raise ConfigError(
                f"input.audio_start (now {float(setting):g}): nothing of {key}, {float(voice.length):.3f} s long, would"
                f" be heard with the picture, {float(picture):.3f} s long. Give seconds since the first frame."
            )
        return voice.later(setting), [SoundNote(f"second 0 of {key} lies {_apart(setting)}, {says}")]
    if setting == "video":
        return voice, [SoundNote(f"second 0 of {key} is the first frame, {says}")]
    if other is None:
        raise ConfigError("input.audio_start is sound, but the video has none. Set it to video, or give seconds.")
    placed = voice.later(other.lead - voice.lead)
    return placed, [SoundNote(f"{key} begins where {_name(other, key)} begins, {_apart(other.lead)}, {says}")]


def _by_length(
    key: str, voice: AudioInput, other: AudioInput, lead: Fraction, picture: Fraction
) -> tuple[AudioInput, list[SoundNote]]:
    """Place a sound file by what it is as long as: the other sound alone, or the picture and what is heard with it.

    picture   [---------------------------------)
    other          [-----------------------)
    made from the other's samples   [-----------------------)          begins where the other begins
    made on the picture's clock     [----------------------------...)  begins with the first frame
    """
    length, sound, name = voice.sound_seconds, other.sound_seconds, _name(other, key)
    from_sound = min(abs(length - sound), abs(length - other.padded_seconds))
    from_picture = min(abs(length - picture), abs(length - sound - lead))

    def is_told(near: Fraction, far: Fraction) -> bool:
        return near <= LENGTH_TOLERANCE_SECONDS and 2 * near < far and near + TOLD_APART_SECONDS < far

    there = f"{key} begins where {name} begins, {_apart(lead)}"
    if is_told(from_sound, from_picture):
        return voice.later(lead), [SoundNote(f"{there}: it is as long as that sound ({float(sound):.3f} s)")]
    here = f"{key} begins with the first frame, although {name} begins {_apart(lead)}"
    if is_told(from_picture, from_sound):
        return voice, [SoundNote(f"{here}: it ends with the picture ({float(picture):.3f} s) or with the sound in it")]
    fits_both = max(from_sound, from_picture) <= LENGTH_TOLERANCE_SECONDS
    text = (
        f"{there if fits_both else here}: its length does not tell which it was made for ({key} {float(length):.3f} s,"
        f" the sound {float(sound):.3f} s, the picture {float(picture):.3f} s). If it was made from sound that was"
        " taken out of the video, set input.audio_start: sound; if on the picture's clock, input.audio_start: video"
    )
    return voice.later(lead if fits_both else Fraction(0)), [SoundNote(text, is_warning=True)]


def _lead_of(voice: AudioInput) -> Fraction:
    """Return where a sound begins; 0 for one that cannot be decoded, for which no dub can have been made."""
    try:
        return voice.lead if voice.sound_seconds else Fraction(0)
    except MediaError:
        return Fraction(0)


def _name(other: AudioInput, key: str) -> str:
    return "the video's own sound" if key == "input.audio" else "the sound that is heard"


def _apart(seconds: Fraction) -> str:
    return f"{abs(float(seconds)):.3f} s {'before' if seconds < 0 else 'after'} the first frame"
