"""The network silero-vad (MIT), which tells speech from music, noise and breath. Its weights come with its package.

The package itself is not imported: that would import torch. What is used of it is the file of its public sequence
model, which has the weights of the streaming model and gives, step by step, the same numbers bit for bit.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.once import once_a_file
from media.base.onnx_network import OnnxNetwork

NETWORK_STEP_SAMPLES = 512
"""At DRIVING_RATE: the network says for each 32 ms how likely they hold speech."""
CONTEXT_SAMPLES = 64
"""Of the step before, which it sees again."""
BATCH_STEPS = 64
"""Steps that it is given at a time, 2 s: 500 times as fast as the sound on one core."""
STATE_SHAPE = (1, 1, 128)
"""Of each of the two arrays that it carries from one step to the next."""
REQUIREMENT = "silero-vad>=6.2.3,<7"


def find_speech_weights() -> Path:
    """Return the file of the network's weights. Raises CheckpointNotFound where the package is not installed."""
    package = find_spec("silero_vad")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, "data", "silero_vad_16k_sequence.onnx")
        if path.is_file():
            return path
    raise CheckpointNotFound(f"silero-vad, which finds speech, is not installed: pip install '{REQUIREMENT}'")


class SpeechNetwork:
    """The network, loaded once for any number of sounds."""

    def __init__(self) -> None:
        """Load it. Raises CheckpointNotFound, or UnsupportedCheckpoint for a package whose network is another one."""
        path = find_speech_weights()
        network = _load(path)
        steps, *state = network.inputs
        sees_steps = steps.fits(None, CONTEXT_SAMPLES + NETWORK_STEP_SAMPLES)
        if not (sees_steps and [each.shape for each in state] == [STATE_SHAPE] * 2):
            raise UnsupportedCheckpoint(f"{path} is not the network that was expected: pip install '{REQUIREMENT}'")
        self._network = network

    def listen(self) -> Listener:
        """Return what listens to one sound, from its beginning."""
        return Listener(self._network)


@once_a_file
def _load(path: Path) -> OnnxNetwork:
    return OnnxNetwork(path)


class Listener:
    """Listens to one sound, however that is cut into blocks. Holds less than a batch of it."""

    def __init__(self, network: OnnxNetwork) -> None:
        """Begin with silence before the sound."""
        self._network = network
        self._held = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._state = [np.zeros(STATE_SHAPE, np.float32)] * 2

    def hear(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how likely each further step holds speech, in [0, 1], as far as batches are complete.

        samples: the next ones of the sound, in [-1, 1], at DRIVING_RATE.
        """
        self._held = np.concatenate([self._held, samples])
        num_batches = (len(self._held) - CONTEXT_SAMPLES) // (BATCH_STEPS * NETWORK_STEP_SAMPLES)
        return np.concatenate([np.zeros(0, np.float32), *(self._judge(BATCH_STEPS) for _ in range(num_batches))])

    def finish(self) -> NDArray[np.float32]:
        """Return the same of what is left; the last step is filled up with silence."""
        left = len(self._held) - CONTEXT_SAMPLES
        num_steps = -(-left // NETWORK_STEP_SAMPLES)
        silence = np.zeros(num_steps * NETWORK_STEP_SAMPLES - left, np.float32)
        self._held = np.concatenate([self._held, silence])
        return self._judge(num_steps) if num_steps else np.zeros(0, np.float32)

    def _judge(self, num_steps: int) -> NDArray[np.float32]:
        used = num_steps * NETWORK_STEP_SAMPLES
        seen = np.lib.stride_tricks.sliding_window_view(
            self._held[: CONTEXT_SAMPLES + used], CONTEXT_SAMPLES + NETWORK_STEP_SAMPLES
        )[::NETWORK_STEP_SAMPLES]
        chances, *self._state = self._network.run(np.ascontiguousarray(seen), *self._state)
        self._held = self._held[used:]
        return np.asarray(chances, np.float32).ravel()
