"""Networks for whole frames: tiles without borders, what stays to the bit, files, and jobs that use them."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN

from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.report import report_path
from lipstitch.report.verify import verify_job
from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.orientation import ORIENTATIONS, UPRIGHT
from renderer.enhance import EnhancerFile, FrameEnhancer, load_enhancer
from tests.support.commands import run_command
from tests.support.doubles import QUICK_TOOLS
from tests.support.jobs import load_report, write_job
from tests.support.onnx_graphs import write_enhancer, write_painter, write_restorer
from tests.support.quick_jobs import make_talk
from tests.support.synthetic import planes, stamped_frame

SIZE = (360, 300)


def file_of(path, **changes):
    return replace(EnhancerFile(str(path), path.name, 1.0, "cpu", "cpu"), **changes)


def enhanced(path, frame, *, strength=1.0, orientation=UPRIGHT):
    return FrameEnhancer(load_enhancer(file_of(path)), strength, orientation)(frame)


@pytest.mark.parametrize("kind", ["same", "double"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p", "yuv410p"])
@pytest.mark.parametrize("size", [SIZE, (355, 287), (64, 40)])
def test_what_a_network_leaves_alone_stays_to_the_bit(tmp_path, kind, pixel_format, size):
    frame = stamped_frame(5, size, pixel_format)
    finer = enhanced(write_enhancer(tmp_path / f"{kind}.onnx", kind), frame)
    assert all(map(np.array_equal, planes(frame), planes(finer)))


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_tiles_are_not_to_be_seen(tmp_path, orientation):
    """Small tiles, and one that holds the whole frame."""
    frame = stamped_frame(5, SIZE, "yuv444p")
    paths = [write_enhancer(tmp_path / f"{px}.onnx", "sharpen", px) for px in (96, 512)]
    small, whole = (planes(enhanced(path, frame, orientation=orientation)) for path in paths)
    assert all(map(np.array_equal, small, whole))
    assert (planes(frame)[0] != whole[0]).mean() > 0.01


def test_half_the_strength_is_half_the_change(tmp_path):
    frame = stamped_frame(5, SIZE, "yuv444p10le")
    path = write_enhancer(tmp_path / "net.onnx", "sharpen")
    before, half, whole = (
        planes(each)[0].astype(float) for each in (frame, enhanced(path, frame, strength=0.5), enhanced(path, frame))
    )
    inside = (whole > 100) & (whole < 900)  # where nothing was cut off
    assert np.abs((half - before) * 2 - (whole - before))[inside].mean() < 2  # half a level of 8 bits
    nothing = enhanced(path, frame, strength=0.0)
    assert np.array_equal(planes(nothing)[0], planes(frame)[0])


@pytest.mark.parametrize("scale", [2, 4])
def test_esrgan_in_its_published_layout_keeps_the_size_of_frames(tmp_path, scale):
    module = ESRGAN(num_filters=8, num_blocks=1, scale=scale)
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(tensor.shape, generator=random) / 20 for name, tensor in module.state_dict().items()}
    torch.save({"params_ema": tensors}, tmp_path / "net.pth")
    frame = stamped_frame(5, SIZE, "yuv420p")
    first, again = (enhanced(tmp_path / "net.pth", frame) for _ in range(2))
    assert (first.width, first.height) == SIZE
    assert (planes(first)[0] != planes(frame)[0]).mean() > 0.5
    assert all(map(np.array_equal, planes(first), planes(again)))


def test_other_files_are_refused_in_one_sentence(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_bytes(b"no network")
    for path in (
        write_painter(tmp_path / "lips.onnx", 128),
        write_enhancer(tmp_path / "small.onnx", "same", 32),
        write_restorer(tmp_path / "weighted.onnx", "weighted", 128),
        tmp_path / "other.safetensors",
        tmp_path / "text.pth",
    ):
        with pytest.raises(UnsupportedCheckpoint, match=r"Check stitcher\.enhance\.model") as caught:
            load_enhancer(file_of(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointNotFound, match="gone"):
        load_enhancer(file_of(tmp_path / "gone.pth"))


# In a job


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return make_talk(tmp_path_factory.mktemp("talk") / "talk.mp4")


@pytest.fixture
def make_job(talk, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"weights")

    def make(kind, *, frames="reencoded", seconds=0.8, **stitcher):
        model = write_enhancer(tmp_path / f"{kind}.onnx", kind)
        return load_job(
            write_job(
                tmp_path,
                input={"video": talk},
                output="out.mp4",
                segmenter={"detector": "cascade", "embedder": "none", "max_clip_seconds": seconds},
                renderer={
                    "checkpoint": "weights.bin",
                    "device": "cpu",
                    "frame_hashes": True,
                    "method": "network",
                    "silence": "render",
                },
                stitcher={"enhance": {"model": str(model), "frames": frames}, **stitcher},
                execution={"backend": "serial", "keep": "all", "workspace": f"work-{kind}-{frames}-{seconds}"},
            )
        )

    return make


def hashes(report):
    return [each for clip in report["clips"] for each in clip.get("frame_hashes", [])]


def test_what_is_reencoded_is_enhanced_and_what_is_copied_is_not(make_job, talk):
    config = make_job("sharpen", verify="full")
    assert run_job(config, Silent(), tools=QUICK_TOOLS).exit_code == 0
    report = load_report(config.output)
    assert report["enhance"].endswith("in frames that are re-encoded, 100% of what it changes")
    coded = {frame for start, stop in report["check"]["spans"] for frame in range(start, stop)}
    assert report["check"]["reencoded"] == []
    assert 0 < len(coded) < 100
    width, height = report["source"]["width"], report["source"]["height"]
    assert report["check"]["boxes"] == [[0, 0, width, height]] * len(report["check"]["spans"])
    with av.open(str(talk)) as source, av.open(str(config.output)) as output:
        lumas = [[planes(frame)[0].astype(int) for frame in file.decode(video=0)] for file in (source, output)]
    for frame, (before, after) in enumerate(zip(*lumas, strict=True)):
        change = np.abs(before - after).mean()
        assert change > 1 if frame in coded else change == 0
    assert verify_job(config, Silent()) == 0
    assert run_job(config, Silent(), tools=QUICK_TOOLS, force=True).exit_code == 0
    again = load_report(config.output)
    assert all(clip["reused"] for clip in again["clips"] if clip["outcome"] != "copied")
    assert again["check"] == report["check"]


def test_every_frame_is_enhanced_whatever_the_clips(make_job):
    config = make_job("sharpen", frames="all")
    assert run_job(config, Silent(), tools=QUICK_TOOLS).exit_code == 0
    report = load_report(config.output)
    assert "copied" not in report["num_clips"]
    assert report["video"]["note"].startswith("stitcher.enhance changes every frame")
    assert len(hashes(report)) == report["output"]["num_frames"]
    longer = make_job("sharpen", frames="all", seconds=2)
    assert run_job(longer, Silent(), tools=QUICK_TOOLS, force=True).exit_code == 0
    assert hashes(load_report(longer.output)) == hashes(report)
    assert verify_job(longer, Silent()) == 0


def test_clips_whose_network_fails_fall_back(make_job):
    config = make_job("frail")
    assert run_job(config, Silent(), tools=QUICK_TOOLS).exit_code == 10
    report = load_report(config.output)
    fallen = [clip for clip in report["clips"] if clip["outcome"] == "fell_back"]
    assert fallen
    assert all("a network of ONNX failed" in clip["reason"] for clip in fallen)
    assert report["check"]["spans"] == []
    assert verify_job(config, Silent()) == 0


def test_a_plan_says_so(make_job, tmp_path):
    make_job("same", frames="all")
    done = run_command("--config", tmp_path / "job.yaml", "--plan")
    assert done.returncode == 0, done.stderr
    assert "enhance  100 frames: " in done.stdout
    assert "in every frame" in done.stdout
    assert not report_path(tmp_path / "out.mp4").exists()
