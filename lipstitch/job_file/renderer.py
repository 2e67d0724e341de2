"""The renderer section of a job file: where new mouths come from, and how they are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from lipstitch.job_file.fields import Checkpoint, Pixels
from lipstitch.job_file.program import CommandConfig
from media.base.onnx_network import Provider, choose_provider
from media.clips import Quality
from renderer.weight_files import NetworkOptions
from segmenter.smoothing import MOST_STEP_FRAMES, MOST_WINDOW_FRAMES

Margin = Annotated[float, Field(ge=0, lt=0.5)]
Silence = Literal["original", "close", "render"]


def _listed(value: Any) -> Any:
    """A network by itself need not be a list."""
    return [value] if isinstance(value, str) and value not in ("fixed", "parsing") else value


Masks = Annotated[Literal["fixed", "parsing"] | tuple[Checkpoint, ...], BeforeValidator(_listed)]

QUALITIES: dict[str, dict[str, Any]] = {
    "fast": {"detect_every_frames": 4, "align": "box"},
    "improved": {},
    "enhanced": {"detect_every_frames": 1, "mask": "parsing", "restore": {"model": "gfpgan"}},
}
"""What each word stands for; of "improved", the defaults of the keys themselves."""
FACE_PARSING = "face_parsing"
SHIPPED_NETWORK = "compact"
"""It draws mouths that no one would publish: good to try things without a download."""


class OnnxConfig(BaseModel, frozen=True, extra="forbid"):
    """How a network of ONNX is used, if `checkpoint` is one; others say this themselves."""

    margins: tuple[Margin, Margin, Margin, Margin] = Field(
        default=(0.0, 0.0, 0.0, 0.0),
        description="How much of the picture that the network sees lies outside the face box: top, bottom, left, right,"
        " as shares of its side.",
    )
    channels: Literal["bgr", "rgb"] = Field(default="bgr", description="The order of its colours.")
    provider: Provider | Literal["auto"] = Field(
        default="auto",
        description="What computes it. auto: cuda where ONNX Runtime offers that, else cpu. coreml comes with ONNX"
        " Runtime on macOS; the others come with the packages onnxruntime-gpu, onnxruntime-directml and"
        " onnxruntime-openvino, which take its place.",
    )


class RestoreConfig(BaseModel, frozen=True, extra="forbid"):
    """A restorer that makes what a network has drawn finer; mouths from footage need none."""

    model: Checkpoint = Field(
        description="Its weights: gfpgan, codeformer, or a file of GFPGAN, RestoreFormer or CodeFormer, or of ONNX."
    )
    strength: float = Field(
        default=0.8, ge=0, le=1, description="How much of what it changes is seen, the same throughout. 0: nothing."
    )
    fidelity: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="CodeFormer alone: how far it keeps to the face that was drawn rather than to its idea of one.",
    )
    area: Literal["mouth", "face"] = Field(
        default="mouth",
        description="What of the face is restored. mouth: what was drawn, and nothing else changes. face: all of it,"
        " from the hairline to the chin, in frames whose mouth is drawn.",
    )
    accept_licence: bool = Field(
        default=False, description="Whether weights that may not be used commercially suit your use."
    )


class RendererConfig(BaseModel, frozen=True, extra="forbid"):
    """How lips are rendered."""

    quality: Quality = Field(
        default="improved",
        description="What suits a trial, a publication, or one with time or a GPU for it: a word for some of the keys"
        " below (docs/quality.md); a key that is given wins.",
    )
    method: Literal["auto", "footage", "network"] = Field(
        default="auto",
        description="Where new mouths come from. footage: the speaker's own mouths, from other frames of the video,"
        " led to the shapes that the sound asks for. network: a network draws them. auto: footage where it suits the"
        " face, else `fallback`; the plan says which, and why.",
    )
    fallback: Literal["auto", "network", "keep"] = Field(
        default="auto",
        description="What happens to a face that no footage suits. network: the network draws its mouth. keep: its"
        " original frames stay. auto: the network if `checkpoint` names another than the small one that ships, or"
        " `command` a program; else keep.",
    )
    shape: Literal["sound", "network"] = Field(
        default="sound",
        description="What tells the shape of lips whose pixels come from footage. sound: a small network that ships"
        " hears it. network: the network of `checkpoint` draws each face, and the shape of what it drew is read: its"
        " sync without its blur, in more time than it takes to draw the video.",
    )
    checkpoint: Checkpoint = Field(
        default=SHIPPED_NETWORK, description="The network's weights: a name in checkpoints/registry.toml or a path."
    )
    command: CommandConfig | None = Field(
        default=None,
        description="Another program that draws mouths in place of a network: its command line, or a section. With it,"
        " `method` is network unless said.",
    )
    allow_torchscript: bool = Field(default=False, description="Open TorchScript archives, which can contain code.")
    onnx: OnnxConfig = OnnxConfig()
    pads: tuple[Pixels, Pixels, Pixels, Pixels] = Field(
        default=(0, 10, 0, 0), description="Pixels added to the face box: top, bottom, left, right."
    )
    detect_every_frames: int = Field(
        default=2, ge=1, le=MOST_STEP_FRAMES, description="The face is detected in every n-th frame of a clip."
    )
    smoothing_frames: int | None = Field(
        default=None,
        ge=1,
        le=MOST_WINDOW_FRAMES,
        description="Window, in frames, of the filter that steadies the face's box and tilt. Omitted: what suits the"
        " detector. 1: no filter.",
    )
    align: Literal["box", "similarity"] = Field(
        default="similarity",
        description="similarity: the network sees a tilted face upright, turned by eyes and mouth (45 degrees at most),"
        " and the mouth is turned back; if the detector gives no landmarks, it is box. box: as it is in the picture.",
    )
    feather: float = Field(
        default=0.1, gt=0, le=0.4, description="Width of the blend's soft edge, as a share of the face box."
    )
    silence: Silence = Field(
        default="close",
        description="What mouths do while the driving sound contains no speech. close: they are drawn closed, or kept"
        " where they are closed already. original: they stay as in the source. render: whatever the network draws.",
    )
    mask: Masks = Field(
        default="fixed",
        description="Which pixels of a face may change. fixed: those of the lower face. parsing: of them, those that"
        " are skin, nose or mouth, as the network face_parsing of checkpoints/registry.toml tells: not glasses, hair or"
        " hands. Or networks, by name or path, that know the parts of a face (BiSeNet) or what is before it (XSeg).",
    )
    most_covered: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a mouth that something before it may cover, as `mask` tells; where it is more, the mouth"
        " stays as it is.",
    )
    restore: Annotated[RestoreConfig | None, BeforeValidator(lambda value: None if value == "none" else value)] = Field(
        default=None,
        description="A restorer for what a network draws. Omitted: what `quality` asks for, if anything. none: none.",
    )
    strength: float = Field(
        default=1.0,
        ge=0,
        le=2,
        description="How far the sound opens and moves mouths. 1: as it asks for. Less: a quieter mouth; 0: a closed"
        " one. More: a livelier one, as far as that looks like the speaker.",
    )
    fade_seconds: float = Field(
        default=0.16,
        ge=0,
        le=2,
        description="Length of the fade where rendering begins or ends within a shot. 0: no fade.",
    )
    batch_size: int = Field(
        default=16, ge=1, le=1024, description="Faces per pass of the network. Lower it if memory runs out."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ... auto: CUDA if available.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Arithmetic of the network. auto: bfloat16 or float16 where the device supports it."
    )
    on_failure: Literal["pass_through", "stop"] = Field(
        default="pass_through",
        description="What happens to a clip that cannot be rendered even in small batches. pass_through: it falls back"
        " to the original frames. stop: the job fails.",
    )
    frame_hashes: bool = Field(
        default=False, description="Write a hash of each frame given to the encoder to the report."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _take_meanings(cls, values: Any, check: ModelWrapValidatorHandler[RendererConfig]) -> RendererConfig:
        """A word for quality stands for keys; and a program is named to be used: it draws all mouths unless said.

        model_fields_set holds the keys that were given themselves.
        """
        if not isinstance(values, dict):
            return check(values)
        program = {"method": "network"} if values.get("command") is not None else {}
        word = values.get("quality")
        meant = QUALITIES.get(word, {}) if isinstance(word, str) else {}
        config = check({**meant, **program, **values})
        config.model_fields_set.difference_update(meant.keys() - values.keys())
        return config

    def with_quality(self, word: Quality) -> RendererConfig:
        """Return the section as if it had another word for quality; keys that were given themselves stay."""
        meant = RendererConfig(quality=word)
        keys = {key for keys in QUALITIES.values() for key in keys} - self.model_fields_set
        return self.model_copy(update={"quality": word, **{key: getattr(meant, key) for key in keys}})

    @model_validator(mode="after")
    def _check(self) -> RendererConfig:
        if self.command is not None and self.shape == "network":
            raise ValueError("shape: network reads what the network of `checkpoint` draws; leave out command")
        return self

    @property
    def masks(self) -> tuple[str, ...]:
        """Names of the networks that tell which pixels may change."""
        return {"fixed": (), "parsing": (FACE_PARSING,)}[self.mask] if isinstance(self.mask, str) else self.mask

    @property
    def keeps_without_footage(self) -> bool:
        """Whether faces that no footage suits keep their frames."""
        draws_ill = self.checkpoint == SHIPPED_NETWORK and self.command is None
        return self.fallback == "keep" or (self.fallback == "auto" and draws_ill)

    @property
    def may_draw(self) -> bool:
        """Whether a network or a program may draw a mouth, unless a span file asks for it."""
        return self.method == "network" or not self.keeps_without_footage

    @property
    def network_options(self) -> NetworkOptions:
        """What the file of the network is read with."""
        onnx = self.onnx
        return NetworkOptions(self.allow_torchscript, onnx.margins, onnx.channels, onnx.provider)

    def with_arithmetic(self, device: str, precision: str) -> RendererConfig:
        """Return the section with what this machine computes with in place of what it would choose."""
        provider = self.onnx.provider
        onnx = self.onnx.model_copy(update={"provider": choose_provider() if provider == "auto" else provider})
        return self.model_copy(update={"device": device, "precision": precision, "onnx": onnx})
