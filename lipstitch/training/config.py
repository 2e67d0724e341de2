"""The training file: TrainConfig and load_training(). Unknown keys are refused; paths are relative to the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from media.base.settings import FilePath, load_settings

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]


class _Model(BaseModel):
    """A section of the training file.

    A key of one of its groups may also stand in the section itself, where it stood before there were groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _group(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        sections = {name: field.annotation for name, field in cls.model_fields.items()}
        groups = {
            name: model for name, model in sections.items() if isinstance(model, type) and issubclass(model, _Group)
        }
        grouped = dict(values)
        for name, model in groups.items():
            own = {key: grouped.pop(key) for key in model.model_fields if key in grouped}
            if own and isinstance(inside := grouped.get(name, {}), dict):
                grouped[name] = {**inside, **own}
        return grouped


class _Group(_Model):
    """Keys of a section that belong together."""


class PaceConfig(_Group):
    """How a stage warms up, decays and saves."""

    warmup_steps: int = Field(default=100, ge=0, description="Steps over which the learning rate rises.")
    decay_share: float = Field(
        default=0.3, gt=0, le=1, description="Share of the steps at the end, over which it falls."
    )
    check_every: int = Field(default=500, ge=1, description="Steps between figures of held-out people and a picture.")
    save_every: int = Field(default=250, ge=1, description="Steps between checkpoints of the training.")


class ExpertAugmentation(_Group):
    """How faces and sounds are changed before the expert sees them."""

    face_strength: float = Field(default=1.0, ge=0, le=1, description="Augmentation of faces.")
    sound_strength: float = Field(default=1.0, ge=0, le=1, description="Augmentation of sound.")
    softness: Share = Field(default=1.0, description="Most blur of the faces, so that it does not go by sharpness.")


class GeneratorAugmentation(_Group):
    """How faces and sounds are changed before the network sees them."""

    face_strength: float = Field(default=1.0, ge=0, le=1, description="Augmentation of faces.")
    sound_strength: float = Field(default=0.5, ge=0, le=1, description="Augmentation of sound.")


class ArithmeticConfig(_Group):
    """Where a training runs, and in which arithmetic."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Arithmetic; auto: bfloat16 where the device has it in hardware."
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="Threads on the CPU; bits depend on it.")


class WeightsNote(_Group):
    """What is noted in the weights."""

    version: str = Field(default="1", pattern=r"^[\w.-]{1,40}$")
    licence: str = Field(default="research use", max_length=200)


class StageConfig(_Model):
    """The keys of both stages."""

    steps: int = Field(ge=1, le=10_000_000, description="Steps of the stage.")
    seconds: float | None = Field(
        default=None,
        gt=0,
        description="Budget of wall time; the stage then ends sooner, after its decay. Such a run is not reproducible.",
    )
    windows: int = Field(ge=2, le=4096, description="Windows of five frames in a step.")
    learning_rate: float = Field(gt=0, le=1)
    pace: PaceConfig = PaceConfig()


class ExpertConfig(StageConfig):
    """The sync expert."""

    file: FilePath | None = Field(default=None, description="A finished expert; omitted: one is trained.")
    steps: int = Field(default=3000, ge=1, le=10_000_000)
    windows: int = Field(default=64, ge=4, le=4096)
    group: int = Field(
        default=8, ge=2, le=64, description="Windows from one track, so that shifted sound is among them."
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    augmentation: ExpertAugmentation = ExpertAugmentation()


class GeneratorConfig(StageConfig):
    """The network that draws mouths."""

    steps: int = Field(default=4000, ge=1, le=10_000_000)
    windows: int = Field(default=4, ge=2, le=4096)
    singles: int = Field(default=20, ge=0, le=20_000, description="Single frames in a step, beside the windows.")
    learning_rate: float = Field(default=4e-4, gt=0, le=1)
    augmentation: GeneratorAugmentation = GeneratorAugmentation()
    ema: float = Field(default=0.998, ge=0, lt=1, description="Decay of the moving average that is kept as the result.")
    ema_warmup: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="How slowly the average comes to that decay; 0: it has it from the first.",
    )
    gap_rows: int = Field(default=5, ge=5, description="Least distance of the reference, in rows of 1/25 s.")
    near_share: Share = Field(default=0.5, description="Share of the references that are at most half a second away.")
    dub_share: Share = Field(default=0.4, description="Share of windows that hear another sound, as a dub.")
    redrawn_share: Share = Field(
        default=0.6, description="Share of the rest whose reference is the frame itself, its lower half redrawn."
    )
    redraw_away: bool = Field(
        default=True,
        description="Draw it from a reference of another time, without a trace of the own mouth; else from the frame.",
    )
    redraw_from: int = Field(default=800, ge=0, description="Step from which on the network draws well enough for it.")
    taught_weight: Weight = Field(
        default=4.0, description="Weight of what is drawn from such a reference, where no truth is known."
    )
    mouth_weight: Weight = Field(default=4.0, description="How much more the mouth weighs than the face around it.")
    gradient_weight: Weight = Field(default=1.0)
    sync_weight: Weight = Field(default=0.06)
    sync_from: int = Field(default=200, ge=0, description="Step from which on the expert has a say.")
    adversarial_weight: Weight = Field(default=0.01)
    feature_weight: Weight = Field(default=0.1, description="Weight of matching the discriminator's maps.")
    adversarial_from: int = Field(default=1200, ge=0, description="Step from which on the discriminator has a say.")
    discriminator_rate: float = Field(default=4e-4, gt=0, le=1)
    sound_gain: float = Field(
        default=1.0,
        ge=1,
        le=4,
        description="How much more than was learned the sound moves the mouth in the result (the compact network).",
    )
    freeze_normalisation: bool = Field(
        default=False, description="Leave the batch statistics as they are (fine-tuning)."
    )


class TrainConfig(_Model):
    """One training, checked and complete."""

    data: FilePath = Field(description="Folder that `train prepare` wrote.")
    out: FilePath = Field(description="Folder for checkpoints, metrics, pictures and the results.")
    init: FilePath | None = Field(default=None, description="Weights to start from; omitted: random ones.")
    held_out: tuple[str, ...] = Field(default=(), description="People who are never trained on.")
    people: dict[str, str] = Field(
        default_factory=dict, description="Person by the beginning of a video's name. Omitted: each video is one."
    )
    seed: int = Field(default=1, ge=0, le=2**31)
    arithmetic: ArithmeticConfig = ArithmeticConfig()
    note: WeightsNote = WeightsNote()
    expert: ExpertConfig = ExpertConfig()
    generator: GeneratorConfig = GeneratorConfig()


def load_training(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read and check a training file; raise ConfigError with key path, value and what is allowed.

    overrides: key=value with a dotted key path and a YAML value, as --set takes them.
    """
    return load_settings(TrainConfig, path, overrides, what="training file")
