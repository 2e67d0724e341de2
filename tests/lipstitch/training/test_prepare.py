"""Videos to datasets: what is stored is what the renderer feeds, nothing is done twice, and bad videos are a line."""

import json
import os
import shutil
from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lipstitch.job_file.renderer import RendererConfig
from lipstitch.progress import Silent
from lipstitch.training.dataset.facts import VideoFacts
from lipstitch.training.preparation.footage import prepare_video
from lipstitch.training.preparation.prepare import DetectorSource, find_videos, prepare_dataset
from media.audio.reader import read_samples
from media.base.errors import CheckpointNotFound, ConfigError, WorkspaceError
from media.base.locks import locked
from media.clips import Clip
from media.coding.encoder_options import choose_coding
from media.orientation import UPRIGHT
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.compositor import Compositor, Pads
from renderer.face_stages.base import DEFAULT_STAGES, StageSettings, build_stages
from renderer.mel import MelTrack
from renderer.networks.base import WAV2LIP_SPEC
from renderer.render import ClipJob, ClipRenderer, LipSync
from segmenter.detectors.cascade import CascadeDetector
from segmenter.scanner import FaceScanner, scan_faces
from segmenter.spans.find import find_spans
from segmenter.spans.presence import SpanSettings
from segmenter.tracker import ALIGN, BoxTracker
from tests.lipstitch.training.conftest import CASCADE
from tests.support.synthetic import Sound, make_video


class Recorder:
    """An engine that keeps what it is given."""

    batch_size = 8
    spec = WAV2LIP_SPEC

    def __init__(self):
        self.faces, self.windows = [], []

    def render(self, faces, mel_windows):
        self.faces.append(faces.copy())
        self.windows.append(mel_windows.copy())
        return faces


def rendered_inputs(video, folder):
    """Render a video with its own sound as a job does; return for each frame what the network was given."""
    info = probe(video)
    table = scan_packets(info)
    detector = CascadeDetector()
    converter = PictureConverter(UPRIGHT)
    with FrameReader(SourceVideo(info, table), roughly=True) as reader:
        scanner = FaceScanner(table, info.require_video().upright_size, detector, converter)
        scan = scan_faces(reader.read(range(len(table))), scanner)
    spans = find_spans(scan, table, [(0, len(table))], SpanSettings())
    faces = tuple(span for span in spans if span.kind == "face")
    wav = folder / "driving.wav"
    blocks = read_samples(
        video,
        stream_index=info.require_audio().index,
        rate=16000,
        layout="mono",
        stop=table.seconds(len(table)),
        zero=table.pts[0] * table.time_base,
    )
    soundfile.write(wav, np.concatenate([block[0] for block in blocks]), 16000, subtype="FLOAT")
    recorder, given = Recorder(), {}
    for span in faces:
        frames = range(span.start_frame, span.stop_frame)
        clip = Clip(0, frames.start, frames.stop, "render", "", frames, (span,), ((frames.start, frames.stop),))
        recorder.faces.clear()
        recorder.windows.clear()
        with MelTrack(wav) as mel:
            stages = build_stages(DEFAULT_STAGES, StageSettings(WAV2LIP_SPEC, feather=0.1))
            lips = LipSync(BoxTracker(detector, converter), Compositor(UPRIGHT, pads=Pads()), recorder, [mel], stages)
            coding = choose_coding(info.require_video(), crf=30, preset="ultrafast")
            job = ClipJob(clip, tuple(table.seconds(frame) for frame in frames))
            ClipRenderer(SourceVideo(info, table), coding, lips).render(job, folder / "clip.nut")
        pairs = zip(np.concatenate(recorder.faces), np.concatenate(recorder.windows), strict=True)
        given |= dict(zip(frames, pairs, strict=True))
    return given


def arrays(folder):
    return [np.load(folder / f"{name}.npy") for name in ("crops", "frames", "columns", "mel")]


def test_what_is_stored_is_what_the_renderer_gives_to_the_network(demo_video, demo_faces, tmp_path):
    given = rendered_inputs(demo_video, tmp_path)
    crops, frames, columns, mel = arrays(demo_faces / "talk")
    assert len(frames) > 80
    for crop, frame, column in zip(crops, frames, columns, strict=True):
        face, window = given[int(frame)]
        assert np.array_equal(crop[8:-8, 8:-8], face)
        assert np.array_equal(mel[column : column + 16].T, window)


def test_faces_are_cropped_as_jobs_crop_them_by_default():
    """Both leave the tracker's defaults as they are."""
    tracker = signature(BoxTracker.__init__).parameters
    renderer = RendererConfig()
    assert (renderer.align, renderer.detect_every_frames) == (ALIGN, tracker["every_frames"].default)
    assert tracker["align"].default == ALIGN
    assert (renderer.smoothing_frames, Pads(*renderer.pads)) == (tracker["smoothing_frames"].default, Pads())


def test_the_rim_continues_the_face(demo_faces):
    crops, *_ = arrays(demo_faces / "talk")
    inner, rim = crops[:, 8:-8, 8].astype(int), crops[:, 8:-8, 7].astype(int)
    further = crops[:, 8:-8, 9].astype(int)
    assert np.abs(inner - rim).mean() < 2 * np.abs(further - inner).mean() + 1
    assert crops[:, :8].std() > 10


def test_tracks_keep_inside_the_scenes_that_show_the_face(demo_faces, demo_truth):
    facts = VideoFacts.load(demo_faces / "talk")
    _, frames, *_ = arrays(demo_faces / "talk")
    tracks = [(int(frames[start]), int(frames[stop - 1]) + 1) for start, stop in facts.tracks]
    assert len(tracks) == len(demo_truth["face_spans"]) == 3
    for (start, stop), (first, last) in zip(tracks, demo_truth["face_spans"], strict=True):
        assert first <= start <= first + 2
        assert last - 8 <= stop <= last
    assert facts.rejected["no face"] == pytest.approx(
        sum(180 - s for s in [sum(b - a for a, b in demo_truth["face_spans"])]) / 25, abs=0.2
    )


def test_a_second_run_does_nothing_and_says_so(demo_video, demo_faces, tmp_path, reporter):
    out = tmp_path / "faces"
    shutil.copytree(demo_faces, out)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "talk").iterdir()}
    prepared = prepare_dataset([demo_video], out, reporter, detector=CASCADE)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "talk").iterdir()} == before
    assert prepared.num_reused == 1
    assert "1 were prepared already" in reporter.text
    assert prepared.num_rows == len(np.load(demo_faces / "talk" / "frames.npy"))


def test_what_a_killed_run_left_is_made_anew(tmp_path):
    video = make_video(tmp_path / "a.mp4", 30, sounds=[Sound()])
    out = tmp_path / "out"

    class Killed(CascadeDetector):
        def detect(self, picture, *, smallest_px=16):
            (out / "a.part" / "crops.npy").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_video(video, out / "a", Killed(), min_face_px=64)
    assert (out / "a.part" / "crops.npy").exists()
    assert not (out / "a").exists()
    prepare_dataset([video], out, Silent(), detector=CASCADE)
    assert sorted(path.name for path in out.iterdir()) == ["a", "lock", "prepare.json"]


def test_bad_videos_are_lines_of_the_table(demo_video, demo_faces, tmp_path, reporter):
    stock = tmp_path / "stock"
    stock.mkdir()
    make_video(stock / "faceless.mp4", 30, sounds=[Sound()])
    make_video(stock / "mute.mp4", 30)
    whole = make_video(stock / "cut.mp4", 60, sounds=[Sound()]).read_bytes()
    (stock / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (stock / "empty.mp4").touch()
    (stock / "text.mp4").write_text("this is not a video")
    soundfile.write(stock / "sound.wav", np.zeros(16000), 16000)
    out = tmp_path / "out"
    shutil.copytree(demo_faces, out)
    prepared = prepare_dataset([stock, stock / "sound.wav", demo_video], out, reporter, detector=CASCADE, workers=3)
    problems = {facts.name: facts.problem for facts in prepared.videos}
    assert problems["talk"] == ""
    assert "no stretch of 1 s" in problems["faceless"]
    assert "no sound" in problems["mute"]
    assert "empty" in problems["empty"]
    assert "media file" in problems["text"]
    assert "no video stream" in problems["sound"]
    assert problems["cut"]
    for name, problem in problems.items():
        assert any(line.startswith(name) and problem in line for line in reporter.said)
    content = json.loads((out / "prepare.json").read_text())
    assert (content["people"], content["videos"], content["videos_without_use"]) == (1, 1, 6)
    assert content["hours"] == pytest.approx(prepared.num_rows / 25 / 3600, abs=1e-4)
    assert content["rejected_seconds"]["no face"] > 1
    assert content["by_video"]["mute"]["problem"] == problems["mute"]
    assert not any((out / "mute").glob("*.npy"))


def test_a_real_clip_of_mpeg_gives_its_sentence(shared, tmp_path, reporter):
    weights = str(shared / "checkpoints" / "retinaface_mobilenet0.25.pth")
    prepared = prepare_dataset(
        [shared / "clips" / "grid_bbaf2n_360x288.mpg"], tmp_path, reporter, detector=DetectorSource(weights=weights)
    )
    (facts,) = prepared.videos
    assert facts.problem == ""
    assert len(facts.tracks) == 1
    assert 2.5 < prepared.num_rows / 25 < 3
    mel = np.load(tmp_path / facts.name / "mel.npy")
    assert mel.max() > 1, "it speaks"


def test_videos_that_cannot_be_meant(tmp_path):
    with pytest.raises(ConfigError, match="there is no file or folder"):
        find_videos([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="no video in"):
        find_videos([tmp_path])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp4").touch()
    with pytest.raises(ConfigError, match="have the same name"):
        find_videos([tmp_path / "a", tmp_path / "b"])
    assert find_videos([tmp_path / "a", tmp_path / "a" / "x.mp4"]) == [tmp_path / "a" / "x.mp4"]


def test_a_detector_that_is_asked_for_and_missing_is_an_error(tmp_path, reporter):
    with pytest.raises(CheckpointNotFound):
        DetectorSource("retinaface", str(tmp_path / "none.pth")).find(reporter)
    assert DetectorSource("cascade").find(reporter) == ("cascade", None)


def test_two_runs_do_not_share_a_folder(tmp_path):
    (tmp_path / "a.mp4").touch()
    with locked(tmp_path / "out", "wait"), pytest.raises(WorkspaceError, match=f"process {os.getpid()} is working"):
        prepare_dataset([tmp_path / "a.mp4"], tmp_path / "out", Silent(), detector=CASCADE)


def test_the_mel_on_disk_is_the_whole_track(demo_video, demo_faces, tmp_path):
    *_, mel = arrays(demo_faces / "talk")
    assert mel.shape == (VideoFacts.load(demo_faces / "talk").num_columns, 80)
    assert Fraction(len(mel), 80) == pytest.approx(180 / 25, abs=0.05)
    assert Path(demo_video).exists()
