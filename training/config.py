"""The training file: TrainConfig and load_training(). Unknown keys are refused; paths are relative to the file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from media.errors import ConfigError

MAX_FILE_BYTES = 1 << 20
MAX_SHOWN = 80
"""Characters of what the user wrote that a message repeats."""


def _resolve(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("give a path")
    folder = (info.context or {}).get("folder", Path())
    return Path(os.path.normpath(Path(folder, os.path.expanduser(value))))


FilePath = Annotated[Path, PlainValidator(_resolve), PlainSerializer(str)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _StageConfig(_Model):
    """What both stages have."""

    steps: int = Field(ge=1, le=10_000_000, description="Steps of the stage.")
    seconds: float | None = Field(
        default=None,
        gt=0,
        description="Budget of wall time; the stage then ends sooner, after its decay. Such a run is not reproducible.",
    )
    windows: int = Field(ge=2, le=4096, description="Windows of five frames in a step.")
    learning_rate: float = Field(gt=0, le=1)
    warmup_steps: int = Field(default=100, ge=0)
    decay_share: float = Field(
        default=0.3, gt=0, le=1, description="Share of the steps at the end, over which it falls."
    )
    face_strength: float = Field(default=1.0, ge=0, le=1, description="Augmentation of faces.")
    sound_strength: float = Field(default=1.0, ge=0, le=1, description="Augmentation of sound.")
    check_every: int = Field(default=500, ge=1, description="Steps between figures of held-out people and a picture.")
    save_every: int = Field(default=250, ge=1, description="Steps between checkpoints of the training.")


class ExpertConfig(_StageConfig):
    """The sync expert."""

    file: FilePath | None = Field(default=None, description="A finished expert; omitted: one is trained.")
    steps: int = Field(default=3000, ge=1, le=10_000_000)
    windows: int = Field(default=64, ge=4, le=4096)
    group: int = Field(
        default=8, ge=2, le=64, description="Windows from one track, so that shifted sound is among them."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    softness: Share = Field(default=1.0, description="Most blur of the faces, so that it does not go by sharpness.")


class GeneratorConfig(_StageConfig):
    """The network that draws mouths."""

    steps: int = Field(default=4000, ge=1, le=10_000_000)
    windows: int = Field(default=8, ge=2, le=4096)
    learning_rate: float = Field(default=4e-4, gt=0, le=1)
    sound_strength: float = Field(default=0.5, ge=0, le=1)
    ema: float = Field(default=0.998, ge=0, lt=1, description="Decay of the moving average that is kept as the result.")
    gap_rows: int = Field(default=20, ge=5, description="Least distance of the reference, in rows of 1/25 s.")
    dub_share: Share = Field(default=0.25, description="Share of windows that hear another sound, as a dub.")
    mouth_weight: Weight = Field(default=4.0, description="How much more the mouth weighs than the face around it.")
    gradient_weight: Weight = Field(default=1.0)
    sync_weight: Weight = Field(default=0.03)
    sync_from: int = Field(default=200, ge=0, description="Step from which on the expert has a say.")
    adversarial_weight: Weight = Field(default=0.01)
    feature_weight: Weight = Field(default=0.1, description="Weight of matching the discriminator's maps.")
    adversarial_from: int = Field(default=1200, ge=0, description="Step from which on the discriminator has a say.")
    discriminator_rate: float = Field(default=4e-4, gt=0, le=1)
    freeze_normalisation: bool = Field(
        default=False, description="Leave the batch statistics as they are (fine-tuning)."
    )


class TrainConfig(_Model):
    """One training, checked and complete."""

    data: FilePath = Field(description="Folder that `prepare` wrote.")
    out: FilePath = Field(description="Folder for checkpoints, metrics, pictures and the results.")
    init: FilePath | None = Field(default=None, description="Weights to start from; omitted: random ones.")
    held_out: tuple[str, ...] = Field(default=(), description="People who are never trained on.")
    people: dict[str, str] = Field(
        default_factory=dict, description="Person by the beginning of a video's name. Omitted: each video is one."
    )
    seed: int = Field(default=1, ge=0, le=2**31)
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Arithmetic; auto: bfloat16 where the device has it in hardware."
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="Threads on the CPU; bits depend on it.")
    version: str = Field(default="1", pattern=r"^[\w.-]{1,40}$", description="Noted in the weights.")
    licence: str = Field(default="research use", max_length=200, description="Noted in the weights.")
    expert: ExpertConfig = ExpertConfig()
    generator: GeneratorConfig = GeneratorConfig()


def load_training(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read and check a training file; raise ConfigError with key path, value and what is allowed.

    overrides: key=value with a dotted key path and a YAML value, as --set takes them.
    """
    content = _read(path)
    for override in overrides:
        key, found, value = override.partition("=")
        if not found or not key:
            raise ConfigError(f"--set {_brief(override)}: write it as key.path=value.")
        section = content
        for part in key.split(".")[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {_brief(override)}: {_brief(part)} holds no keys of its own.")
        section[key.split(".")[-1]] = _parse(value, f"--set {_brief(override)}")
    try:
        return TrainConfig.model_validate(content, context={"folder": path.parent})
    except ValidationError as exc:
        said = "; ".join(_describe(error) for error in exc.errors(include_url=False)[:10])
        raise ConfigError(f"{path}: {said}.") from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: this is no regular file. Check the path of the training file.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB, so it is no training file. Check the path.")
        content = _parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}). Check the path of the training file.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: this is no text file. Check the path of the training file.") from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a training file is a list of `key: value` lines. See configs/train_compact.yaml.")
    return {key: {} if value is None and key in ("expert", "generator") else value for key, value in content.items()}


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except Exception as exc:  # PyYAML turns a value into what its tag says, and may stumble in any way
        raise ConfigError(
            f"{where}: this is not YAML ({_brief(str(exc).splitlines()[0])}). Check the spelling."
        ) from exc


def _describe(error: ErrorDetails) -> str:
    """Return one clause: key path, value, what is allowed."""
    where = ".".join(_brief(str(part)) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; the keys here are {', '.join(_model_at(error['loc'][:-1]).model_fields)}"
    if error["type"] == "missing":
        return f"{where}: this key is needed"
    value = error["input"]
    shown = f" (now {_brief(repr(value))})" if isinstance(value, str | int | float) else ""
    said = error["msg"].removeprefix("Value error, ")
    return f"{where}{shown}: {said[:1].lower()}{said[1:]}"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = TrainConfig
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = next(_models_in(model.model_fields[part].annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _brief(text: str) -> str:
    """Return text of the user's on one line, cut where it is long."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."
