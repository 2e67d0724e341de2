"""What each word of renderer.quality costs, and whether its mouths flicker.

    python -m benchmarks.quality VIDEO DUB [--set renderer.restore.model=gfpgan.pth ...]
    python -m benchmarks.quality VIDEO DUB --stages PICTURE --restorer FILE --enhancer FILE

Each word renders the video, whose first frame shows a face, with a network that draws every mouth. Prints seconds of
rendering a frame, memory of all processes (PSS), and how much mouths change from frame to frame, in the speaker's
upright face, as a share of the source's own (at most 1.1 is wanted). --set: for `enhanced`, for weights that lie
elsewhere than where the registry has them. --stages: writes what each stage makes of the face instead, row by row: the
source, a network's mouths, with a restorer in the mouth, in the whole face, with whole frames enhanced, and footage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import yaml

from benchmarks.footage import close_up
from benchmarks.measure import run_measured
from benchmarks.talks import bgr
from media.affine import sample
from media.faces import FacePath
from media.mesh import steady
from media.orientation import UPRIGHT
from media.picture import PictureConverter, Pixels, VideoFrame
from renderer.footage import looks
from renderer.footage.lip_shape import upright
from segmenter.detectors.cascade import CascadeDetector
from segmenter.mesh.mesher import SHIPPED, FaceMesher, OnnxMesh
from segmenter.mesh.tracker import follow

ROOT = Path(__file__).resolve().parent.parent
STRIP_FRAMES = 6
WORDS = ("fast", "improved", "enhanced")


def frames_of(video: Path) -> Iterator[VideoFrame]:
    """Yield the frames of a video."""
    with av.open(f"file:{video}") as container:
        yield from container.decode(video=0)


class Speaker:
    """The face of a video's first frame, followed through it."""

    def __init__(self, video: Path) -> None:
        self.video = video
        box = max(CascadeDetector().detect(bgr(next(frames_of(video)))), key=lambda face: face.box.area).box
        mesher = FaceMesher(OnnxMesh(SHIPPED), PictureConverter(UPRIGHT))
        found = follow(enumerate(frames_of(video)), FacePath((0,), (box,)), mesher)
        meshes = np.stack([each.mesh for _, _, each in found])
        self.meshes, (_, self.reference) = steady(meshes), upright(meshes)
        self._own = self._changes(video)

    def flicker(self, result: Path) -> float:
        """Return how much mouths change from frame to frame in a result, as a share of the source's own."""
        return self._changes(result) / self._own

    def _changes(self, video: Path) -> float:
        before, moved = None, []
        for frame, mesh in zip(frames_of(video), self.meshes, strict=True):
            mouth = sample(bgr(frame), looks.mouth_map(mesh, self.reference), looks.CROP).astype(np.float32)
            if before is not None:
                moved.append(float(np.abs(mouth - before).mean()))
            before = mouth
        return float(np.mean(moved))

    def strip(self, result: Path) -> Pixels:
        """Return the lower face in some frames of a result, side by side."""
        some = np.linspace(0, len(self.meshes) - 1, STRIP_FRAMES + 2).astype(int)[1:-1].tolist()
        shown = [bgr(frame) for number, frame in enumerate(frames_of(result)) if number in some]
        return np.hstack([close_up(*pair) for pair in zip(shown, self.meshes[some], strict=True)])


def stages(restorer: str, enhancer: str) -> Iterator[dict[str, dict[str, object]]]:
    """Yield the sections of a job for each stage."""
    for restore in ("none", {"model": restorer, "area": "mouth"}, {"model": restorer, "area": "face"}):
        yield {"renderer": {"method": "network", "restore": restore}}
    yield {"renderer": {"method": "network"}, "stitcher": {"enhance": {"model": enhancer, "frames": "all"}}}
    yield {"renderer": {"method": "footage"}}


def rendered(video: Path, dub: Path, folder: Path, name: str, **sections: object) -> Path:
    """Run a job in a folder and return its output."""
    job, output = folder / "job.yaml", folder / f"{name}.mp4"
    content = {
        "input": {"video": str(video.absolute()), "audio": str(dub.absolute()), "length_policy": "cut"},
        "output": str(output),
        "segmenter": {"detector": "cascade", "embedder": "none"},
        **sections,
    }
    job.write_text(yaml.safe_dump(content))
    subprocess.run([sys.executable, str(ROOT / "main.py"), "--config", str(job), "--quiet"], cwd=ROOT, check=True)
    return output


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("dub", type=Path)
    parser.add_argument("--words", nargs="+", choices=WORDS, default=list(WORDS))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stages", type=Path, metavar="PICTURE")
    parser.add_argument("--restorer", help="weights, by name or path")
    parser.add_argument("--enhancer", help="likewise")
    parser.add_argument("--strips", type=Path, help="a picture to write: the source above what each word makes of it")
    arguments = parser.parse_args()
    speaker = Speaker(arguments.video)
    rows = [speaker.strip(arguments.video)]
    if arguments.stages:
        for number, stage in enumerate(stages(arguments.restorer, arguments.enhancer)):
            with TemporaryDirectory() as folder:
                rows.append(speaker.strip(rendered(arguments.video, arguments.dub, Path(folder), f"{number}", **stage)))
        cv2.imwrite(str(arguments.stages), np.vstack(rows))
        return
    sys.stdout.write("| `renderer.quality` | seconds a frame | memory, MB | flicker |\n|---|---|---|---|\n")
    for word in arguments.words:
        with TemporaryDirectory() as folder:
            job, output = Path(folder) / "job.yaml", Path(folder) / "out.mp4"
            content = {
                "input": {"video": str(arguments.video.absolute()), "audio": str(arguments.dub.absolute())},
                "output": str(output),
                "segmenter": {"detector": "cascade", "embedder": "none"},
                "renderer": {"quality": word, "method": "network"},
            }
            content["input"] |= {"length_policy": "cut"}
            job.write_text(yaml.safe_dump(content))
            overrides = [part for value in arguments.set for part in ("--set", value)] if word == "enhanced" else []
            command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--quiet", *overrides]
            measured = run_measured(command, cwd=ROOT)
            report = json.loads(Path(f"{output}.report.json").read_text())
            seconds = report["seconds"]["render"] / max(report["num_rendered_frames"], 1)
            shaken = speaker.flicker(output)
            rows.append(speaker.strip(output))
        sys.stdout.write(f"| `{word}` | {seconds:.3f} | {measured.peak_mb:.0f} | {shaken:.2f} |\n")
        sys.stdout.flush()
    if arguments.strips:
        cv2.imwrite(str(arguments.strips), np.vstack(rows))


if __name__ == "__main__":
    main()
