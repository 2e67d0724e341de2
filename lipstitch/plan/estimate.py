"""What an output will cost: time, disk and memory, by figures that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lipstitch.plan.outputs.spec import OutputSpec
from media.audio.driving import DRIVING_RATE
from media.clips import Clip
from media.coding.encoder_options import CODED_PSNR, VideoCoding
from media.coding.quality import can_change
from media.source_video import SourceVideo

LARGE_CHECKPOINT_BYTES = 100_000_000
RENDER_FRAMES_PER_SECOND = {"small": 45.0, "large": 20.0}
"""Face frames a second on two cores, tracking and coding included, for a compact and a full-size network."""
CODE_FRAMES_PER_SECOND = 100.0
COPY_FRAMES_PER_SECOND = 3000.0
CODED_BITS_PER_PIXEL = 0.6
"""Upper end of what coded frames take; grain, and a low rate factor of the user's, need more."""
CODED_SHARE = 1.2
"""How large coded frames are beside the source's own, on average, where the quality is found for each clip."""
FINER, COARSER = 1.28, 1.09
"""How much larger coded frames are for each decibel above CODED_PSNR, and how much smaller for each below it."""
VOICE_BYTES_PER_SECOND, TRACK_BYTES_PER_SECOND = 4 * DRIVING_RATE, 24_000
"""Of each sound that drives lips, and of a soundtrack of 192 kbit/s."""
PROCESS_MEGABYTES, FIRST_PROCESS_MEGABYTES = 900, 400
"""Of each worker process, and of the one that starts them."""
THREAD_MEGABYTES, FIRST_THREAD_MEGABYTES = 130, 1250
"""Of each worker thread, and of the process that they share."""


RESTORE_SECONDS, RESTORER_MEGABYTES = 5.0, 2000
"""Of a face with GFPGAN on two cores; CodeFormer takes 10. Of a restorer, in each process."""
MASK_SECONDS = 0.35
"""Of a face with BiSeNet on two cores."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What renders on this machine."""

    num_cores: int
    max_workers: int
    """Clips rendered at a time at most; 0 where a cluster renders them."""
    has_processes: bool
    """Whether each worker is a process with a network of its own."""
    checkpoint_bytes: int
    """Size of the network's weights; 0 where they are still missing."""
    restores: bool = False
    """Whether a restorer works on what the network draws."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the clips of an output hold, and what they cost."""

    num_rendered: int
    """Frames with a new mouth."""
    num_reencoded: int
    """Frames re-encoded unchanged."""
    num_copied: int
    seconds: float
    """Of work after the scan."""
    clip_bytes: int
    """What clips take in the workspace, all of them."""
    sound_bytes: int
    """What sound takes there."""
    output_bytes: int
    """At most, about."""
    likely_bytes: int | None
    """How large the output will be, about; None where nothing tells."""
    memory_bytes: int

    @property
    def workspace_bytes(self) -> int:
        """What clips and sound take in the workspace."""
        return self.clip_bytes + self.sound_bytes

    def bytes_of_clips(self, num_frames: int) -> int:
        """Return what clips of so many frames take in the workspace."""
        return self.clip_bytes * num_frames // max(self.num_rendered + self.num_reencoded, 1)

    @property
    def disk_bytes(self) -> int:
        """What is written in all."""
        return self.workspace_bytes + self.output_bytes


def estimate_cost(
    spec: OutputSpec, source: SourceVideo, coding: VideoCoding, clips: Sequence[Clip], capacity: Capacity
) -> Estimate:
    """Count what the clips hold and estimate what they cost. coding: of frames that are not copied."""
    info, video, timeline = source.info, source.video, spec.timeline
    rendered = sum(stop - start for clip in clips for start, stop in clip.rendered)
    coded = sum(len(clip) for clip in clips if clip.action != "copy") - rendered
    copied = len(timeline) - rendered - coded
    speed = RENDER_FRAMES_PER_SECOND["large" if capacity.checkpoint_bytes > LARGE_CHECKPOINT_BYTES else "small"]
    scale = capacity.num_cores / 2
    seconds = rendered / (speed * scale) + coded / (CODE_FRAMES_PER_SECOND * scale) + copied / COPY_FRAMES_PER_SECOND
    above = coding.least_psnr - CODED_PSNR
    larger = FINER**above if above > 0 else COARSER**above
    clip_bytes = int((rendered + coded) * video.width * video.height * CODED_BITS_PER_PIXEL * max(larger, 1.0) / 8)
    a_frame = info.size_bytes / max(len(source.table), 1)
    is_alike = coding.codec == video.codec and not coding.is_fixed and can_change(coding)
    sound_rate = len(spec.drive_audio.voices) * VOICE_BYTES_PER_SECOND + TRACK_BYTES_PER_SECOND
    sound_bytes = int(timeline.seconds(len(timeline)) * sound_rate)
    return Estimate(
        num_rendered=rendered,
        num_reencoded=coded,
        num_copied=copied,
        seconds=seconds,
        clip_bytes=clip_bytes,
        sound_bytes=sound_bytes,
        output_bytes=int(copied * a_frame) + clip_bytes + sound_bytes,
        likely_bytes=int((copied + CODED_SHARE * larger * (rendered + coded)) * a_frame) if is_alike else None,
        memory_bytes=_memory_bytes(clips, capacity),
    )


def _memory_bytes(clips: Sequence[Clip], capacity: Capacity) -> int:
    num_clips = max(sum(clip.action != "copy" for clip in clips), 1)  # one worker starts even where nothing is to do
    num_workers = min(capacity.max_workers, num_clips)
    first, each, num_networks = FIRST_THREAD_MEGABYTES, THREAD_MEGABYTES, 1
    if capacity.has_processes:
        first, each, num_networks = FIRST_PROCESS_MEGABYTES, PROCESS_MEGABYTES, max(num_workers, 1)
    restorers = num_networks * RESTORER_MEGABYTES if capacity.restores else 0
    return (first + num_workers * each + restorers) * 1_000_000 + 2 * num_networks * capacity.checkpoint_bytes
