"""How mouths are drawn in an output: how faces are cropped, and what mouths do while nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lipstitch.footage.read import Footage
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.renderer import Silence
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.speech import Hearing, hear, shared_pauses
from lipstitch.source.weights import describe_restorer
from lipstitch.workspace import Workspace
from media.audio.driving import DRIVING_RATE

BOX_INSTEAD = "box instead of similarity: the detector finds no eyes by which faces could be turned upright"


@dataclass(frozen=True, slots=True)
class MouthPlan:
    """How mouths are drawn."""

    align: Literal["box", "similarity"]
    """How the job file wants faces to be cropped."""
    has_landmarks: bool
    """Whether the detector finds the eyes by which faces are turned upright."""
    silence: Silence
    """What mouths do in pauses."""
    hearing: Hearing
    """Where the voices pause."""
    footage: Footage
    """The mouths that spans of the method footage show."""
    shape: Literal["sound", "network"]
    """What tells the shape of those mouths."""
    restorer: str
    """What restores drawn faces, in one line; empty if nothing does."""
    masks: tuple[str, ...]
    """Names of the networks that tell which pixels of a face may change; empty for the fixed mask."""
    program: str
    """The command line of the program that draws in a network's place; empty if none does."""

    def describe_align(self) -> str:
        """Return how faces are cropped: the word of the job file, or why that is impossible."""
        return BOX_INSTEAD if self.align == "similarity" and not self.has_landmarks else self.align

    def describe_silence(self) -> str:
        """Return in one line what mouths do in pauses."""
        if self.silence == "render":
            return "mouths are drawn from whatever is heard"
        does = "mouths are drawn shut" if self.silence == "close" else "mouths stay as they are"
        if not self.hearing.has_speech:
            return f"no speech was found in the sound that drives the lips: {does} throughout"
        seconds = sum(stop - start for start, stop in shared_pauses(self.hearing.pauses)) / DRIVING_RATE
        foreign = self.describe_foreign()
        return f"{does} while no one speaks, {seconds:.1f} s in all{f'; {foreign}' if foreign else ''}"

    def describe_foreign(self) -> str:
        """Return in one line which sounds move lips although they are not speech-like; empty if none do."""
        if not self.hearing.foreign:
            return ""
        return f"no speech was recognised in {', '.join(self.hearing.foreign)}, so that lips move wherever it is loud"


def plan_mouths(
    config: JobConfig, spec: OutputSpec, workspace: Workspace, *, has_landmarks: bool, footage: Footage
) -> MouthPlan:
    """Return how the mouths of an output are drawn. workspace: keeps where the sounds that drive lips speak."""
    silence, voices = config.renderer.silence, spec.drive_audio.voices
    never_pause = Hearing(pauses=((),) * len(voices), has_speech=True)
    return MouthPlan(
        align=config.renderer.align,
        has_landmarks=has_landmarks,
        silence=silence,
        hearing=never_pause if silence == "render" else hear(voices, workspace),
        footage=footage,
        shape=config.renderer.shape,
        restorer=describe_restorer(config),
        masks=config.renderer.masks,
        program=config.renderer.command.run if config.renderer.command else "",
    )
