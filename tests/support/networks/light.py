"""A lip network that costs nothing: a face whose lower half is as dark as its sound is loud.

For tests of what happens around a network: its faces depend on the frame and on the sound, and on nothing else.
"""

import torch

from renderer.networks.base import WAV2LIP_SPEC

NAME = "light.depth"
"""Of the only tensor of its weights."""


class LightNetwork:
    module = None
    spec = WAV2LIP_SPEC

    def __init__(self, depth):
        self._depth = depth

    def place(self, device, dtype):
        self._depth = self._depth.to(device)

    def run(self, faces, mel_windows, references):
        loudness = (mel_windows.mean(dim=(1, 2)) + 4) / 8
        shade = 1 - self._depth * (0.2 + loudness)
        drawn = faces.clone()
        lower = references[:, self.spec.face_px // 2 :].float() * shade[:, None, None, None]
        drawn[:, self.spec.face_px // 2 :] = lower.round().clamp(0, 255).to(torch.uint8)
        return drawn


class Architecture:
    def detects(self, header):
        return header.shapes == {NAME: ()}

    def spec(self, header):
        return WAV2LIP_SPEC

    def load(self, weights):
        return LightNetwork(weights.read_tensors()[NAME])


ARCHITECTURE = Architecture()
