"""SyncNet, and the way from faces and sound to its figures, are those of syncnet_python: golden data say so."""

import cv2
import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from lipstitch.evaluation.faces import median_place
from lipstitch.evaluation.shifts import SyncRun
from lipstitch.evaluation.syncnet import load_syncnet
from media.audio.mfcc import mfcc
from media.base.errors import UnsupportedCheckpoint
from media.faces import FaceBox
from tests.support.syncing import SyncNetOnArrays


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "syncnet.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def network(syncnet_parity_checkpoint):
    return load_syncnet(syncnet_parity_checkpoint)


@pytest.fixture(scope="module")
def faces(golden):
    return np.stack([cv2.resize(face, (224, 224)) for face in golden["faces_bgr"]])


def relative(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()


@torch.inference_mode()
def test_embeddings(network, golden, faces):
    some = [0, 40, 94]
    windows = torch.from_numpy(np.stack([faces[row : row + 5] for row in some]))
    assert relative(network.embed_lips(windows).numpy(), golden["lip_embedding"][some]) < 1e-4
    heard = torch.from_numpy(np.stack([golden["mfcc"].T[4 * row : 4 * row + 20] for row in range(95)]))
    assert relative(network.embed_sound(heard).numpy(), golden["audio_embedding"]) < 1e-4


def test_the_whole_protocol(network, golden, faces, shared):
    """From faces and samples to distance, confidence and offset, window by window."""
    import soundfile

    samples = soundfile.read(shared / "golden" / "speech_16k.wav", dtype="float32")[0]
    run = SyncRun(SyncNetOnArrays(network, mfcc(samples)), first_step=0)
    for face in faces:
        run.add(face, label=7)
    (sums,) = run.finish().values()
    assert sums.count == 95
    assert relative(sums.curve, golden["mean_distance"]) < 1e-4
    assert sums.offset == golden["offset"]
    assert sums.distance == pytest.approx(float(golden["lse_d"]), rel=1e-4)
    assert sums.confidence == pytest.approx(float(golden["lse_c"]), rel=1e-2)  # a small difference of large numbers


def test_places_are_the_medians_of_scipy():
    """syncnet_python steadies places by scipy.signal.medfilt over 13 frames."""
    random = np.random.default_rng(1)
    middles, sides = random.uniform(200, 220, (30, 2)), random.uniform(80, 90, (30, 2))
    boxes = [FaceBox(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(middles, sides, strict=True)]
    wanted = [medfilt(values, 13) for values in (*middles.T, sides.max(axis=1) / 2)]
    got = [median_place(boxes[max(at - 6, 0) : at + 7]) for at in range(30)]
    assert np.allclose(got, np.transpose(wanted))


def test_other_weights_are_refused(parity_checkpoint, tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match=r"not the weights of SyncNet v2"):
        load_syncnet(parity_checkpoint)
    text = tmp_path / "syncnet_v2.model"
    text.write_text("no weights")
    with pytest.raises(UnsupportedCheckpoint, match=r"syncnet_v2\.model"):
        load_syncnet(text)
