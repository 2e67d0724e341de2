from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from media.base.errors import ConfigError, OutOfMemory, RenderError
from renderer.engine import LipSyncEngine, choose_device, choose_precision, load_engine
from renderer.networks._torch import TorchLipNetwork
from renderer.networks.base import WAV2LIP_SPEC, load_network

COMPACT = Path(__file__).resolve().parents[2] / "checkpoints" / "compact.safetensors"
PRECISIONS = ("float32", "bfloat16")
FIRST_ROW = WAV2LIP_SPEC.first_row
"""Of what a network draws: the rows before it are hidden."""


@pytest.fixture(scope="module")
def compact():
    return load_network(COMPACT)


@pytest.fixture(autouse=True)
def small_passes(request, monkeypatch):
    """Make passes of bfloat16 small: most CPUs emulate it, and faces that fill up a pass cost as much as others."""
    if "bfloat16" in request.node.name:
        monkeypatch.setattr("renderer.engine.FACES_A_THREAD", 2)


def draw_inputs(num_faces: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    faces = generator.integers(0, 256, (num_faces, 96, 96, 3), dtype=np.uint8)
    return faces, generator.uniform(-4, 4, (num_faces, 80, 16)).astype(np.float32)


class Echo(nn.Module):
    """Gives back three of the six channels it gets, and notes the batches."""

    def __init__(self, first_channel: int) -> None:
        super().__init__()
        self.first_channel = first_channel
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()

    def __deepcopy__(self, _memo):
        return self

    def forward(self, mel, faces, first_row):
        self.shapes.append((*mel.shape, *faces.shape))
        self.threads.add(torch.get_num_threads())
        return faces[:, self.first_channel : self.first_channel + 3, first_row:]


def test_the_network_sees_the_masked_and_the_full_face():
    faces, mels = draw_inputs(3)
    masked = LipSyncEngine(TorchLipNetwork(Echo(0)), device="cpu", precision="float32", batch_size=2).render(
        faces, mels
    )
    full = LipSyncEngine(TorchLipNetwork(Echo(3)), device="cpu", precision="float32", batch_size=2).render(faces, mels)
    assert np.array_equal(full, faces)
    assert np.array_equal(masked[:, :48], faces[:, :48])
    assert not masked[:, 48:].any()


def test_every_pass_has_the_same_size_and_one_thread():
    echo = Echo(0)
    num_threads = torch.get_num_threads()
    engine = LipSyncEngine(TorchLipNetwork(echo), device="cpu", precision="float32", batch_size=4, num_threads=2)
    for num_faces in (9, 1, 0, 16):
        assert engine.render(*draw_inputs(num_faces)).shape == (num_faces, 96, 96, 3)
    assert set(echo.shapes) == {(8, 1, 80, 16, 8, 6, 96, 96)}
    assert len(echo.shapes) == 5
    assert echo.threads == {1}
    assert torch.get_num_threads() == num_threads


def test_with_batch_size_shares_the_network():
    engine = LipSyncEngine(TorchLipNetwork(Echo(0)), device="cpu", batch_size=4)
    smaller = engine.with_batch_size(2)
    assert (smaller.batch_size, engine.batch_size) == (2, 4)
    assert smaller._network is engine._network


def test_pixels_are_rounded_and_clamped():
    class Constant(nn.Module):
        def forward(self, mel, faces, first_row):
            values = torch.tensor([-0.1, 100.6 / 255, 1.1])
            return values[None, :, None, None].expand(len(faces), 3, 96 - first_row, 96)

    mouths = LipSyncEngine(TorchLipNetwork(Constant()), device="cpu", precision="float32", batch_size=1).render(
        *draw_inputs(1)
    )
    assert np.array_equal(mouths[0, 50, 5], [0, 101, 255])


def test_the_network_is_left_as_it_is(compact):
    before = {name: tensor.clone() for name, tensor in compact.module.state_dict().items()}
    LipSyncEngine(compact, device="cpu", precision="bfloat16", batch_size=1)
    after = compact.module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == before[name].dtype for name in before)


@pytest.mark.parametrize(("precision", "mean_tolerance"), [("float32", 0.51), ("bfloat16", 1.0)])
def test_wav2lip_parity(shared, parity_checkpoint, precision, mean_tolerance):
    golden = np.load(shared / "golden" / "wav2lip.npz")
    few = slice(2 if precision == "bfloat16" else None)  # most CPUs emulate it slowly
    engine = load_engine(parity_checkpoint, device="cpu", precision=precision, batch_size=8)
    mouths = engine.render(golden["faces_bgr"][few], golden["mel_windows"][few, 0])
    wanted = golden["output"][few].transpose(0, 2, 3, 1) * 255
    difference = np.abs(mouths - wanted)[:, FIRST_ROW:]
    assert np.array_equal(mouths[:, :FIRST_ROW], golden["faces_bgr"][few, :FIRST_ROW])
    assert difference.mean() < mean_tolerance
    if precision == "float32":
        assert difference.max() < 0.5 + 255e-4  # rounding to whole levels, and the tolerance of the golden data


def test_compact_parity_in_auto_precision(shared):
    """Of the first weights, which the golden output is of."""
    golden = np.load(shared / "golden" / "wav2lip.npz")
    engine = LipSyncEngine(load_network(shared / "compact" / "compact_v0.safetensors"), batch_size=8)
    mouths = engine.render(golden["faces_bgr"], golden["mel_windows"][:, 0])
    wanted = np.load(shared / "compact" / "golden.npz")["output"].transpose(0, 2, 3, 1) * 255
    assert np.abs(mouths - wanted)[:, FIRST_ROW:].mean() < 1.0


@pytest.mark.parametrize(("precision", "num_faces", "parts_of"), [("float32", 11, (1, 3)), ("bfloat16", 4, (3,))])
def test_a_face_does_not_depend_on_its_batch(compact, precision, num_faces, parts_of):
    """Of bfloat16, which most CPUs emulate slowly, there are fewer; a face alone is always among them."""
    faces, mels = draw_inputs(num_faces)
    engine = LipSyncEngine(compact, device="cpu", precision=precision, batch_size=num_faces)
    together = engine.render(faces, mels)
    assert np.array_equal(engine.render(faces[::-1], mels[::-1])[::-1], together)
    assert np.array_equal(engine.render(faces[-2:-1], mels[-2:-1]), together[-2:-1])
    for few in parts_of:
        starts = range(0, num_faces, few)
        parts = [engine.render(faces[i : i + few], mels[i : i + few]) for i in starts]
        assert np.array_equal(np.concatenate(parts), together)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_face_does_not_depend_on_threads_or_batch_size(compact, precision):
    faces, mels = draw_inputs(5 if precision == "bfloat16" else 12)
    mouths = [
        LipSyncEngine(
            compact, device="cpu", precision=precision, batch_size=batch_size, num_threads=num_threads
        ).render(faces, mels)
        for num_threads, batch_size in ((1, 8), (2, 16), (3, 2))
    ]
    assert np.array_equal(mouths[0], mouths[1])
    assert np.array_equal(mouths[0], mouths[2])


def test_wav2lip_does_not_depend_on_threads_or_place(shared, parity_checkpoint):
    golden = np.load(shared / "golden" / "wav2lip.npz")
    faces, mels = golden["faces_bgr"], golden["mel_windows"][:, 0]
    network = load_network(parity_checkpoint)
    one = LipSyncEngine(network, device="cpu", batch_size=8, num_threads=1).render(faces, mels)
    two = LipSyncEngine(network, device="cpu", batch_size=16, num_threads=2)
    twice = two.render(np.concatenate([faces[3:], faces]), np.concatenate([mels[3:], mels]))
    assert np.array_equal(twice, np.concatenate([one[3:], one]))


class Failing(nn.Module):
    def __init__(self, fail) -> None:
        super().__init__()
        self.fail = fail

    def forward(self, mel, faces, first_row):
        self.fail()


def raise_error(error: Exception):
    raise error


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (lambda: torch.empty(1 << 50), r"^out of memory\. Lower execution\.workers\.$"),
        (lambda: raise_error(MemoryError()), r"^out of memory\."),
        (lambda: raise_error(torch.OutOfMemoryError("CUDA out of memory")), r"^out of GPU memory\..*now 3"),
    ],
)
def test_out_of_memory_is_translated(fail, message):
    engine = LipSyncEngine(TorchLipNetwork(Failing(fail)), device="cpu", batch_size=3)
    with pytest.raises(OutOfMemory, match=message):
        engine.render(*draw_inputs(2))


def test_failures_of_the_libraries_below_are_translated():
    fail = Failing(lambda: raise_error(RuntimeError("could not create a primitive descriptor")))
    with pytest.raises(RenderError, match=r"the network failed \(could not create a primitive descriptor\)"):
        LipSyncEngine(TorchLipNetwork(fail), device="cpu", batch_size=3).render(*draw_inputs(2))


def test_bugs_are_not_translated():
    engine = LipSyncEngine(
        TorchLipNetwork(Failing(lambda: raise_error(RuntimeError("shapes differ")))), device="cpu", batch_size=3
    )
    with pytest.raises(RuntimeError, match="shapes differ"):
        engine.render(*draw_inputs(2))


@pytest.mark.parametrize("wanted", ["cuda:63", "no-such-device"])
def test_a_device_that_is_not_there_is_a_config_error(wanted):
    with pytest.raises(ConfigError, match=wanted):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("bf16", "amx", "device", "wanted", "dtype"),
    [
        (True, False, "cpu", "auto", torch.bfloat16),
        (False, True, "cpu", "auto", torch.bfloat16),
        (False, False, "cpu", "auto", torch.float32),
        (True, True, "cuda", "auto", torch.float16),
        (True, True, "cpu", "float32", torch.float32),
        (True, True, "cuda", "bfloat16", torch.bfloat16),
    ],
)
def test_choose_precision(monkeypatch, bf16, amx, device, wanted, dtype):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    assert choose_precision(wanted, torch.device(device)) == dtype


def test_choose_device(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        monkeypatch.setattr("torch.cuda.device_count", lambda there=there: int(there))
        assert choose_device("auto").type == kind
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    assert choose_precision("auto", choose_device("auto")) == torch.float32


def test_gpus_take_turns(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for wanted in ("auto", "cuda"):
        assert [str(choose_device(wanted, turn)) for turn in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(choose_device("cpu", 1)) == "cpu"
