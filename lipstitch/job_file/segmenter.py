"""The segmenter section of a job file: where faces are looked for, whose lips move, and when a face is rendered."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from lipstitch.job_file.fields import Checkpoint, Detector, Reference, Target
from media.base.settings import FilePath
from media.faces import FaceBox
from segmenter.find_detector import (
    AUTO,
    detector_names,
    detector_with_weights,
    has_landmarks,
    names_with_landmarks,
)
from segmenter.scan import ScanSettings
from segmenter.spans.presence import SpanSettings

GIVEN = "given"
"""The detector of a job that says where the face is."""
LEAST_BOX_PX = 16
Edge = Annotated[int, Field(ge=0, le=1 << 16)]
SCAN_DEFAULTS, SPAN_DEFAULTS = ScanSettings(), SpanSettings()


def _detector_weights(validated: dict[str, Any]) -> str:
    """Return the registered weights of the detector, or of the one that `auto` prefers if it has none."""
    return detector_with_weights(validated.get("detector", AUTO)).weights or ""


class SegmenterConfig(BaseModel, frozen=True, extra="forbid"):
    """Where faces are looked for, and when one counts."""

    detector: Detector = Field(
        default=AUTO,
        description=f"The face detector: {', '.join(detector_names())}, or auto: the best one whose weights are here or"
        " can be downloaded.",
    )
    box: tuple[Edge, Edge, Edge, Edge] | None = Field(
        default=None,
        description="Where the only face is in every frame: top, bottom, left, right, in pixels of the upright picture."
        " Nothing is detected then (detector given). For faces that no detector finds and that hardly move.",
    )
    detector_checkpoint: Checkpoint = Field(
        default_factory=_detector_weights,
        description="Weights of the detector (auto: of the best one): a name in checkpoints/registry.toml or a path.",
    )
    embedder: Checkpoint = Field(
        default="auto",
        description="Tells people apart: a name in checkpoints/registry.toml, or the path of any ONNX network of the"
        " ArcFace convention. auto: SFace if its weights are here or can be downloaded, and the detector gives"
        " landmarks. none: people are not told apart.",
    )
    mesh: Checkpoint = Field(
        default="face_mesh",
        description="Finds the points of a face where mouths come from footage: a name in checkpoints/registry.toml, or"
        " the path of an ONNX network of the same points.",
    )
    target: Target = Field(
        default="main",
        description="Whose lips move. main: who is on screen longest while the dub speaks. largest: the largest face of"
        " each shot. all: everyone. speaker: who speaks at the time, in the video's own sound. {reference: photo.jpg}:"
        " who is on a photo. {at: time, point: [x, y]}: whose face is there then. A number: a person, as python main.py"
        " people shows them.",
    )
    speaking: Checkpoint = Field(
        default="light_asd",
        description="Tells who speaks (target speaker, input.speakers auto): Light-ASD, as a name in"
        " checkpoints/registry.toml or the path of its weights.",
    )
    spans: FilePath | None = Field(
        default=None,
        description="A span file (--plan --spans writes one), corrected by hand: what it says is rendered, instead of"
        " what the scan decides.",
    )
    samples_per_second: float = Field(
        default=SCAN_DEFAULTS.samples_per_second,
        gt=0,
        le=60,
        description="Frames a second in which the scan looks for faces.",
    )
    min_face_px: int = Field(
        default=SPAN_DEFAULTS.min_face_px,
        ge=16,
        le=4096,
        description="Least height of a face, in pixels of the video. Smaller ones also make the scan slower.",
    )
    onset: float = Field(default=SPAN_DEFAULTS.onset, ge=0, le=1, description="Detector score at which a face appears.")
    offset: float = Field(
        default=SPAN_DEFAULTS.offset, ge=0, le=1, description="Detector score below which it is gone."
    )
    min_on_seconds: float = Field(
        default=SPAN_DEFAULTS.min_on_seconds, ge=0, le=60, description="Shorter appearances are ignored."
    )
    min_off_seconds: float = Field(
        default=SPAN_DEFAULTS.min_off_seconds, ge=0, le=60, description="Shorter gaps within a shot are filled."
    )
    max_yaw_degrees: float = Field(
        default=SPAN_DEFAULTS.max_yaw_degrees, gt=0, le=90, description="A face turned further away is not rendered."
    )
    min_sharpness: float = Field(
        default=SPAN_DEFAULTS.min_sharpness,
        ge=0,
        le=1,
        description="Faces with less fine detail are not rendered: they are out of focus. 0: however blurred.",
    )
    min_light: float = Field(
        default=SPAN_DEFAULTS.min_light,
        ge=0,
        le=1,
        description="Darker faces (0 black, 1 white) are not rendered. 0: however dark.",
    )
    max_clip_seconds: float = Field(
        default=10, ge=0.1, le=600, description="Longest clip that is rendered as one piece of work."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_given(cls, values: Any) -> Any:
        """A box is given to be used: it stands for its detector unless another is named, which is refused."""
        return {"detector": GIVEN, **values} if isinstance(values, dict) and values.get("box") is not None else values

    @model_validator(mode="after")
    def _check(self) -> SegmenterConfig:
        if (self.box is None) == (self.detector == GIVEN):
            raise ValueError(f"detector {GIVEN} and box belong together; give both, the box alone, or neither")
        if self.box is not None and (
            self.box[1] - self.box[0] < LEAST_BOX_PX or self.box[3] - self.box[2] < LEAST_BOX_PX
        ):
            raise ValueError(f"box is top, bottom, left, right, and at least {LEAST_BOX_PX} pixels wide and high")
        if self.offset > self.onset:
            raise ValueError(f"offset ({self.offset:g}) must not exceed onset ({self.onset:g})")
        if self.needs_people and self.embedder == "none":
            raise ValueError("target names a person, but embedder none cannot tell people apart; use embedder auto")
        if self.needs_people and not has_landmarks(self.detector):
            raise ValueError(
                f"target names a person, but detector {self.detector} cannot tell people apart;"
                f" use {names_with_landmarks()}"
            )
        return self

    @property
    def needs_people(self) -> bool:
        """Whether the target makes sense only where people are told apart."""
        return isinstance(self.target, int | Reference)

    @property
    def scan_settings(self) -> ScanSettings:
        """How closely the video is scanned."""
        return ScanSettings(self.samples_per_second, self.min_face_px, self._face_box)

    @property
    def _face_box(self) -> FaceBox | None:
        if self.box is None:
            return None
        top, bottom, left, right = map(float, self.box)
        return FaceBox(left, top, right, bottom)

    @property
    def span_settings(self) -> SpanSettings:
        """When a face is rendered."""
        return SpanSettings(**{field.name: getattr(self, field.name) for field in fields(SpanSettings)})
