"""The job file: JobConfig and load_job(). Everything a user can ask for, checked before anything is done.

Unknown keys are refused. Times are seconds, or text like 01:05.2 or 00:01:05.200. Relative paths are relative to the
folder of the job file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from media.errors import ConfigError

TIME_TEXT = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")
ADDRESS_TEXT = re.compile(r"(?P<scheme>tcp://|tls://)?([\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})", re.ASCII)
MAX_PORTS = 1 << 16
CLUSTER_LIBRARIES = {"dask": "distributed", "ray": "ray"}
"""What must be installed for a backend."""
MAX_JOB_FILE_BYTES = 1 << 20
MAX_TIME_SECONDS = 1_000 * 3600
MAX_SHOWN = 80
"""Characters of what the user wrote that a message repeats."""
MAX_PATH_BYTES, MAX_NAME_BYTES = 4095, 255
"""Longest path and longest name in it that Linux opens."""
MAX_FAULTS = 10
"""Faults that are named at once."""


def parse_time(value: Any) -> Fraction:
    """Return a time in seconds, exactly; value: a number, or text [hh:]mm:ss[.mmm]. Raises ValueError otherwise."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("give seconds or [hh:]mm:ss[.mmm]")
    # YAML reads 1:08.96 as a sum of floats, 68.96000000000001, which would miss the frame at 68.96 s.
    match = TIME_TEXT.fullmatch(str(round(value, 6) if isinstance(value, float) else value).strip())
    if match is None:
        raise ValueError("give seconds or [hh:]mm:ss[.mmm], not negative")
    hours, minutes, seconds = match.groups()
    if (hours and int(minutes) >= 60) or (minutes and float(seconds) >= 60):
        raise ValueError("give [hh:]mm:ss[.mmm] with minutes and seconds below 60")
    time = Fraction(int(hours or 0) * 3600 + int(minutes or 0) * 60) + Fraction(seconds)
    if time > MAX_TIME_SECONDS:
        raise ValueError("give a time below 1000 hours")
    return time


def _resolve(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("give a path")
    folder = (info.context or {}).get("folder", Path())
    path = Path(os.path.normpath(Path(folder, os.path.expanduser(value))))
    try:
        is_too_long = len(os.fsencode(path)) > MAX_PATH_BYTES or _has_long_name(path)
    except UnicodeEncodeError as exc:  # half a surrogate pair, which YAML's \u can write
        raise ValueError("give a path; this one holds a character that no file name can hold") from exc
    if is_too_long:
        raise ValueError("give a path; this one is longer than a path can be")
    return path


def _has_long_name(path: Path) -> bool:
    return any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in path.parts)


def _resolve_checkpoint(value: Any, info: ValidationInfo) -> str:
    """Names of the registry stay as they are; what looks like a path is resolved."""
    if not isinstance(value, str) or not value:
        raise ValueError("give a name of checkpoints/registry.toml or a path")
    path = str(_resolve(value, info))
    return path if "/" in value or "\\" in value or Path(value).suffix else value


Time = Annotated[Fraction, PlainValidator(parse_time), PlainSerializer(str)]
FilePath = Annotated[Path, PlainValidator(_resolve), PlainSerializer(str)]
Checkpoint = Annotated[str, PlainValidator(_resolve_checkpoint)]
Pixels = Annotated[int, Field(ge=-4096, le=4096)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class InputConfig(_Model):
    """What goes in."""

    video: FilePath = Field(description="The video. Any file FFmpeg reads.")
    audio: FilePath | None = Field(
        default=None, description="The dub: any audio or video file. Omitted: the video's own sound."
    )
    drive_audio: FilePath | None = Field(
        default=None, description="What drives the lips (a clean voice, as long as `audio`); `audio` is what is heard."
    )
    accept_damaged: bool = Field(
        default=False, description="Use what is there of a file that is cut off; otherwise such a file is refused."
    )
    length_policy: Literal["video", "cut", "error", "freeze", "loop", "bounce"] = Field(
        default="video",
        description="When dub and video differ. video: the video's length; a longer dub is trimmed only if what is cut"
        " is silence. cut: a longer dub is always trimmed. error: more than one frame is an error. freeze, loop,"
        " bounce: the video is prolonged.",
    )


class RangeConfig(_Model):
    """A time range of the video."""

    start: Time = Field(description="Seconds or [hh:]mm:ss[.mmm] since the first frame; the range begins here.")
    end: Time = Field(description="Seconds or [hh:]mm:ss[.mmm]; the range ends before this.")
    audio: FilePath | None = Field(
        default=None, description="The dub of this range. Omitted: the same time of input.audio."
    )
    audio_start: Time = Field(
        default=Fraction(0), description="Where in `audio` the range begins, seconds or [hh:]mm:ss[.mmm]."
    )
    name: str | None = Field(
        default=None, pattern=r"^[\w][\w .-]{0,99}$", description="Name of the extracted file. Omitted: its times."
    )

    @model_validator(mode="after")
    def _check(self) -> RangeConfig:
        if self.end <= self.start:
            raise ValueError(f"end ({float(self.end):g} s) must lie after start ({float(self.start):g} s)")
        return self


class ExtractConfig(_Model):
    """How ranges are extracted."""

    join: bool = Field(default=False, description="One output with all ranges in order, instead of one output a range.")


class SegmenterConfig(_Model):
    """Where faces are looked for, and when one counts."""

    detector: Literal["auto", "retinaface", "cascade"] = Field(
        default="auto", description="auto: RetinaFace if its weights are there or can be had, else OpenCV's cascade."
    )
    detector_checkpoint: Checkpoint = Field(
        default="retinaface_mobilenet",
        description="Weights of RetinaFace: a name in checkpoints/registry.toml or a path.",
    )
    samples_per_second: float = Field(
        default=5, gt=0, le=60, description="Frames a second in which the scan looks for faces."
    )
    min_face_px: int = Field(
        default=64,
        ge=16,
        le=4096,
        description="Least height of a face, in pixels of the video. Smaller ones also make the scan slower.",
    )
    onset: float = Field(default=0.6, ge=0, le=1, description="Detector score at which a face appears.")
    offset: float = Field(default=0.4, ge=0, le=1, description="Detector score below which it is gone.")
    min_on_seconds: float = Field(default=0.4, ge=0, le=60, description="Shorter appearances are ignored.")
    min_off_seconds: float = Field(default=0.4, ge=0, le=60, description="Shorter gaps within a shot are filled.")
    max_yaw_degrees: float = Field(default=60, gt=0, le=90, description="A face turned further away is not rendered.")
    max_clip_seconds: float = Field(
        default=10, ge=0.1, le=600, description="Longest clip that is rendered as one piece of work."
    )

    @model_validator(mode="after")
    def _check(self) -> SegmenterConfig:
        if self.offset > self.onset:
            raise ValueError(f"offset ({self.offset:g}) must not exceed onset ({self.onset:g})")
        return self


class RendererConfig(_Model):
    """How mouths are drawn."""

    checkpoint: Checkpoint = Field(
        default="compact", description="The network's weights: a name in checkpoints/registry.toml or a path."
    )
    allow_torchscript: bool = Field(default=False, description="Read TorchScript archives, which can hold code.")
    pads: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        default=(0, 10, 0, 0), description="Pixels added to the face box: top, bottom, left, right."
    )
    detect_every_frames: int = Field(
        default=2, ge=1, le=10, description="The face is detected in every n-th frame of a clip."
    )
    smoothing_frames: int | None = Field(
        default=None,
        ge=1,
        le=51,
        description="Window, in frames, over which the face box is smoothed. Omitted: 5 for RetinaFace, 9 for the"
        " cascade, whose boxes are noisier.",
    )
    feather: float = Field(
        default=0.1, gt=0, le=0.4, description="Width of the blend's soft edge, as a share of the face box."
    )
    batch_size: int = Field(default=16, ge=1, le=1024, description="Faces in one pass of the network.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Arithmetic of the network."
    )
    on_failure: Literal["pass_through", "stop"] = Field(
        default="pass_through", description="What becomes of a clip that cannot be rendered even in small batches."
    )
    frame_hashes: bool = Field(
        default=False, description="Note a hash of each frame given to the encoder in the report."
    )


class AudioConfig(_Model):
    """How the soundtrack is coded, where the dub's own packets cannot be used."""

    codec: Literal["auto", "aac", "mp3", "ac3", "opus", "flac", "pcm_s16le", "pcm_s24le"] = Field(
        default="auto", description="auto: AAC where the container takes it."
    )
    bit_rate: int | None = Field(
        default=None, ge=16_000, le=1_536_000, description="Bits per second. Omitted: 192000 for two channels."
    )
    language: str | None = Field(
        default=None, pattern="^[a-z]{3}$", description="ISO 639-2 code of the dub, for example hin."
    )


class VideoConfig(_Model):
    """How frames are coded, where packets cannot be copied."""

    crf: int = Field(default=13, ge=0, le=40, description="Constant rate factor of x264 and x265; lower is better.")
    preset: Literal["auto", "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = Field(
        default="auto",
        description="Preset of x264 and x265: slower ones make smaller files. auto: veryfast for H.264, ultrafast for"
        " HEVC, which cost about the same.",
    )


class StitcherConfig(_Model):
    """How the output is put together."""

    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    crossfade_seconds: float = Field(
        default=0.02, ge=0, le=1, description="Length of the cross-fades where sound is joined."
    )
    verify: Literal["packets", "full", "none"] = Field(
        default="packets",
        description="How the finished file is checked before it gets its name. full: both are decoded and compared.",
    )


class ExecutionConfig(_Model):
    """Where the work is done and what is kept of it."""

    backend: Literal["processes", "threads", "serial", "dask", "ray"] = Field(
        default="threads", description="Where clips are rendered. dask, ray: on the machines of a cluster."
    )
    address: str | None = Field(
        default=None,
        description="host:port of the Dask scheduler or of the Ray cluster; tls://host:port for Dask over TLS.",
    )
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default="auto", description="Clips rendered at a time. auto: as many as the machines have use for."
    )
    workspace: FilePath | None = Field(
        default=None, description="Folder for finished clips. Omitted: beside the output."
    )
    keep: Literal["none", "scan", "all"] = Field(
        default="scan", description="What stays in the workspace after success."
    )
    checkpoints: FilePath | None = Field(
        default=None, description="Folder of network weights. Omitted: the project's own."
    )

    @model_validator(mode="after")
    def _check(self) -> ExecutionConfig:
        library = CLUSTER_LIBRARIES.get(self.backend)
        if library is None:
            if self.address is not None:
                raise ValueError(f"address is for backend dask or ray; backend {self.backend} works on this machine")
            return self
        if self.address is None:
            raise ValueError(f"backend {self.backend} needs address, the host:port of its cluster")
        match = ADDRESS_TEXT.fullmatch(self.address)
        if match is None or not 0 < int(match["port"]) < MAX_PORTS:
            raise ValueError(f"address (now {_shown(self.address)}): write it as host:port")
        if match["scheme"] and self.backend != "dask":
            raise ValueError(f"address (now {_shown(self.address)}): Ray takes host:port alone")
        if find_spec(library) is None:
            raise ValueError(f"backend {self.backend} needs `pip install 'lipstitch[{self.backend}]'`")
        return self


class JobConfig(_Model):
    """One job, checked and complete."""

    input: InputConfig
    output: FilePath = Field(description="The file to write; its ending chooses the container.")
    mode: Literal["patch", "extract"] = Field(
        default="patch", description="patch: the whole video, re-synced inside the ranges. extract: only the ranges."
    )
    ranges: tuple[RangeConfig, ...] | None = Field(default=None, description="Omitted: the whole video.")
    extract: ExtractConfig = ExtractConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    renderer: RendererConfig = RendererConfig()
    stitcher: StitcherConfig = StitcherConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="after")
    def _check(self) -> JobConfig:
        if self.mode == "extract" and not self.ranges:
            raise ValueError("mode extract needs ranges: list at least one {start, end}")
        if self.ranges == ():
            raise ValueError("ranges is empty: list at least one {start, end}, or leave it out for the whole video")
        if self.ranges is not None and self.input.length_policy in ("freeze", "loop", "bounce"):
            raise ValueError(f"length_policy {self.input.length_policy} prolongs the whole video; leave out ranges")
        if self.mode == "patch":
            ordered = sorted(self.ranges or (), key=lambda part: part.start)
            for one, two in pairwise(ordered):
                if two.start < one.end:
                    raise ValueError(f"ranges overlap at {float(two.start):g} s; in mode patch they must not")
        return self


def load_job(path: Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read and check a job file; raise ConfigError with key path, value and what is allowed.

    overrides: key=value with a dotted key path and a YAML value, as --set takes them.
    """
    content = _read_yaml(path)
    for override in overrides:
        key, found, value = override.partition("=")
        if not found or not key:
            raise ConfigError(f"--set {_brief(override)}: write it as key.path=value.")
        _set(content, key.split("."), _parse_yaml(value, f"--set {_brief(override)}"), _brief(override))
    try:
        return JobConfig.model_validate(_given(content), context={"folder": path.parent})
    except ValidationError as exc:
        raise ConfigError(f"{path}: {_describe(exc.errors(include_url=False))}") from exc


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # reading a pipe may never end
            raise ConfigError(f"{path}: this is no regular file. Save it to a file first.")
        if status.st_size > MAX_JOB_FILE_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB, so it is no job file. Check the path.")
        content = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}). Check the path of the job file.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: this is no text file. Check the path of the job file.") from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a job file is a list of `key: value` lines. See configs/ for examples.")
    return content


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases, with which a small file can grow without bound, and keys that are given twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{_brief(key.value)} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as exc:
        line = f"line {exc.problem_mark.line + 1}: " if exc.problem_mark else ""
        raise ConfigError(f"{where}: {line}{_brief(exc.problem or str(exc))}. Check the spelling.") from exc
    except Exception as exc:  # PyYAML turns a value into what its tag says, and may stumble in any way
        reason = str(exc).split("\n")[0]
        raise ConfigError(f"{where}: this is not YAML ({_brief(reason)}). Check the spelling.") from exc


def _given(content: dict[Any, Any]) -> dict[Any, Any]:
    """Return the keys that have a value: a section whose lines are all commented out is one that is left out."""
    given = {key: value for key, value in content.items() if value is not None}
    return {key: _given(value) if isinstance(value, dict) else value for key, value in given.items()}


def _set(content: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if content.get(key) is None:
            content[key] = {}
        content = content[key]
        if not isinstance(content, dict):
            raise ConfigError(f"--set {override}: {_brief(key)} holds no keys of its own.")
    content[keys[-1]] = value


def _describe(errors: list[ErrorDetails]) -> str:
    """Return one sentence for each thing that is wrong: key path, value, what is allowed."""
    sentences: dict[str, list[str]] = {}
    for error in errors:
        loc = [part for part in error["loc"] if not str(part).startswith(("literal[", "constrained"))]
        value = error["input"]
        shown = f" (now {_shown(value)})" if isinstance(value, str | int | float) and error["type"] != "missing" else ""
        where = f"{'.'.join(_brief(str(part)) for part in loc)}{shown}: " if loc else ""
        sentences.setdefault(where, []).append(_allowed(error, loc))
    named = [f"{where}{', or '.join(dict.fromkeys(said))}" for where, said in sentences.items()]
    more = [f"and {len(named) - MAX_FAULTS} faults more"] if len(named) > MAX_FAULTS else []
    return "; ".join(named[:MAX_FAULTS] + more) + "."


def _shown(value: str | float) -> str:
    """Return a value as a message repeats it; Python refuses to write out integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN:
        return "a number of very many digits"
    return _brief(repr(value))


def _brief(text: str) -> str:
    """Return text of the user's on one line, cut where it is long."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."


def _allowed(error: ErrorDetails, loc: list[str | int]) -> str:
    """Return what is allowed at a place, in words."""
    if error["type"] == "extra_forbidden":
        return f"unknown key; {_keys_at(loc[:-1])}"
    if error["type"] == "missing":
        return "this key is needed" if isinstance(loc[-1], str) else "a value is missing here"
    if error["type"] == "model_type":
        return f"this is a section; {_keys_at(loc)}"
    if error["type"] == "tuple_type":
        return "give a list"
    said = error["msg"].removeprefix("Value error, ")
    return said[:1].lower() + said[1:]


def _keys_at(loc: list[str | int]) -> str:
    """Return which keys a section of the job has; loc: its key path, with indexes of list entries."""
    model: type[BaseModel] = JobConfig
    for part in loc:
        if isinstance(part, str):
            model = next(_models_in(model.model_fields[part].annotation))
    return f"the keys here are {', '.join(model.model_fields)}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
