"""Judges of sync without a video: SyncNet on arrays, and one that sees in a crop at which step it was filmed."""

import numpy as np
import torch


class SyncNetOnArrays:
    """SyncNet as the public tool runs it, on crops and coefficients at hand."""

    prefix = "lse"
    least_windows = 95
    is_cut = True

    def __init__(self, network, mfccs):
        self._network, self._mfccs = network, mfccs

    @torch.inference_mode()
    def embed_lips(self, windows):
        return torch.cat([self._network.embed_lips(torch.from_numpy(each[None])) for each in windows]).numpy()

    @torch.inference_mode()
    def embed_sound(self, steps):
        windows = np.stack([self._mfccs[4 * step : 4 * step + 20] for step in steps])
        return self._network.embed_sound(torch.from_numpy(windows)).numpy()


class KnowingJudge:
    """Embeds a window by the number that its first crop shows, and sound by its step: `late` steps are between them."""

    prefix = "sync"
    least_windows = 25

    def __init__(self, late, is_cut=False):
        self._late, self.is_cut = late, is_cut
        self.most_windows = 0
        self._directions = np.random.default_rng(2).normal(size=(2000, 16)).astype(np.float32)

    def embed_lips(self, windows):
        self.most_windows = max(self.most_windows, len(windows))
        low, high, _ = windows[:, 0, 0, 0].astype(int).T
        return self._directions[low + 256 * high + 500 - self._late]

    def embed_sound(self, steps):
        return self._directions[np.asarray(steps) + 500]
