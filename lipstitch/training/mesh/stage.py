"""One step of training a mesh network, and its figures on people it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lipstitch.training.average import build_average
from lipstitch.training.loop import Stage
from lipstitch.training.mesh.augment import change, middle
from lipstitch.training.mesh.faces import LabelledFaces, Track
from lipstitch.training.mesh.network import MeshNetwork
from media.mesh import EYE_CORNERS, JAW, LIPS, NUM_POINTS, Mesh, points_at
from media.picture import Pixels
from segmenter.mesh.crop import MESH_PX

DEPTH_WEIGHT: Final = 0.3
"""How much an error in depth weighs against one in the picture."""
LIPS_WEIGHT, JAW_WEIGHT = 3.0, 2.0
"""How much lips and jaw weigh against the other points."""
FINE: Final = 0.02
"""Errors below it, as a share of the eye distance, count squared."""
SHAPE_WEIGHT: Final = 2.0
"""Weight of what is measured on a mouth: the distances of SHAPE_PAIRS."""
SHAPE_PAIRS: Final = np.array(
    [points_at(pair) for pair in ((13, 14), (82, 87), (312, 317), (61, 291), (0, 17), (78, 308), (1, 152))]
)
DOUBT_WEIGHT: Final = 0.02
CHECKED_FACES: Final = 1500
"""Held-out faces that a check looks at, spread evenly."""
DRAWN: Final = 8


class MeshStage(Stage):
    """Trains a MeshNetwork; a moving average of its weights is the result."""

    name = "mesh"

    def __init__(
        self, data: LabelledFaces, held_out: Sequence[str], *, faces: int, learning_rate: float, ema: float, seed: int
    ) -> None:
        """faces: in a step. ema: decay of the moving average. seed: of what is drawn. held_out: people to judge on."""
        people = [person for person in data.people if person not in set(held_out)]
        self._data, self._seed, self._faces = data, seed, faces
        self._tracks = data.of(people)
        # People, not frames, should weigh alike; the root is between the two, since few people have most of the poses.
        lengths = {person: sum(t.stop - t.start for t in data.of([person])) for person in people}
        shares = np.array([(t.stop - t.start) / lengths[t.person] ** 0.5 for t in self._tracks])
        self._shares = shares / shares.sum()
        self._held = data.of(held_out)
        self.network = MeshNetwork()
        self.average = build_average(self.network, ema)
        self.modules = {"network": self.network, "average": self.average}
        self.optimizers = {"network": torch.optim.AdamW(self.network.parameters(), learning_rate, weight_decay=0.02)}
        weights = np.ones(NUM_POINTS, np.float32)
        weights[LIPS], weights[JAW] = LIPS_WEIGHT, JAW_WEIGHT
        self._weights = torch.from_numpy(weights / weights.mean())

    def step(self, step: int) -> Mapping[str, Tensor]:
        """Train on faces drawn for this step."""
        random = np.random.default_rng([self._seed, step])
        chosen = random.choice(len(self._tracks), self._faces, p=self._shares)
        rows = [int(random.integers(self._tracks[track].start, self._tracks[track].stop)) for track in chosen]
        seeds = random.integers(0, 2**62, len(rows))

        def changed(row: int, own: int) -> tuple[Pixels, Mesh]:
            return change(np.asarray(self._data.faces[row]), self._data.meshes[row], np.random.default_rng(own))

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            pairs = list(threads.map(changed, rows, seeds))
        faces, truth = to_tensors([face for face, _ in pairs]), torch.from_numpy(np.stack([mesh for _, mesh in pairs]))
        self.network.train()
        points, doubts = self.network(faces)
        losses = losses_of(points, doubts, truth, self._weights)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
            torch.autograd.backward(losses["loss"])
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            optimizer.step()
        self.average.update_parameters(self.network)
        return {name: value.detach() for name, value in losses.items()}

    @property
    def result(self) -> MeshNetwork:
        """The average: what is kept."""
        network = self.average.module
        assert isinstance(network, MeshNetwork)
        return network

    def check(self) -> dict[str, float]:
        """Return median errors on held-out people, as shares of the eye distance, and how well mouths are measured."""
        rows = np.concatenate([np.arange(track.start, track.stop) for track in self._held] or [np.arange(0)])
        if not len(rows):
            return {}
        rows = rows[:: max(len(rows) // CHECKED_FACES, 1)]
        found, truth = predict(self.result, self._data, rows)
        error, unit = errors(found, truth)
        gap = [np.linalg.norm(np.diff(mesh[:, SHAPE_PAIRS[0]], axis=1)[:, 0], axis=1) / unit for mesh in (found, truth)]
        return {
            "lips": float(np.median(error[:, LIPS])),
            "jaw": float(np.median(error[:, JAW])),
            "all": float(np.median(error)),
            "gap": float(np.corrcoef(*gap)[0, 1]),
        }

    def draw(self, path: Path) -> None:
        """Draw held-out faces with the points found (green) and the teacher's (red)."""
        if not self._held:
            return
        rows = np.array([self._middle(track) for track in self._held[:: max(len(self._held) // DRAWN, 1)][:DRAWN]])
        found, truth = predict(self.result, self._data, rows)
        strip = []
        for row, own, taught in zip(rows, found, truth, strict=True):
            face, _ = middle(np.asarray(self._data.faces[row]), self._data.meshes[row])
            large = np.ascontiguousarray(cv2.resize(face, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
            for mesh, colour in ((taught, (0, 0, 255)), (own, (0, 255, 0))):
                for x, y in mesh[:, :2] * 3 + 1:
                    cv2.circle(large, (round(float(x)), round(float(y))), 1, colour, -1)
            strip.append(large)
        cv2.imwrite(str(path), np.hstack(strip))

    def _middle(self, track: Track) -> int:
        return (track.start + track.stop) // 2


def to_tensors(faces: Sequence[Pixels]) -> Tensor:
    """Return faces as the network takes them."""
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float() / 255


def to_pixels(points: Tensor) -> Tensor:
    """Return the network's points in pixels of its square."""
    return points * MESH_PX + torch.tensor([(MESH_PX - 1) / 2, (MESH_PX - 1) / 2, 0.0])


def losses_of(points: Tensor, doubts: Tensor, truth: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Return the losses of a batch. truth: (faces, NUM_POINTS, 3) in pixels of the square. weights: of the points."""
    found = to_pixels(points)
    unit = (truth[:, EYE_CORNERS[0]] - truth[:, EYE_CORNERS[1]]).norm(dim=1)[:, None, None]
    off = (found - truth) / unit * torch.tensor([1.0, 1.0, DEPTH_WEIGHT])
    place = functional.smooth_l1_loss(off, torch.zeros_like(off), beta=FINE, reduction="none")
    loss = (place.mean(dim=2) * weights).mean()
    first, second = SHAPE_PAIRS.T
    shape = ((found[:, first] - found[:, second]) - (truth[:, first] - truth[:, second])) / unit
    measured = functional.smooth_l1_loss(shape, torch.zeros_like(shape), beta=FINE)
    error = off.detach()[..., :2].norm(dim=2)
    seen = torch.stack([error[:, LIPS].mean(1), error[:, JAW].mean(1), error.mean(1)], dim=1)
    doubt = (seen * torch.exp(-doubts) + doubts).mean()  # negative log-likelihood of a Laplace distribution
    total = loss + SHAPE_WEIGHT * measured + DOUBT_WEIGHT * doubt
    return {"loss": total, "place": loss, "shape": measured, "lips": error[:, LIPS].mean(), "doubt": doubt}


def predict(network: MeshNetwork, data: LabelledFaces, rows: NDArray[np.int64]) -> tuple[Mesh, Mesh]:
    """Return the meshes that a network finds in faces, and those of the teacher, in pixels of the square."""
    network.eval()
    found, taught = [], []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            pairs = [
                middle(np.asarray(data.faces[row]), data.meshes[row]) for row in map(int, rows[start : start + 64])
            ]
            points, _ = network(to_tensors([face for face, _ in pairs]))
            found.append(to_pixels(points).numpy())
            taught.append(np.stack([mesh for _, mesh in pairs]))
    return np.concatenate(found), np.concatenate(taught)


def errors(found: Mesh, truth: Mesh) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far each point is off in the picture, as a share of the eye distance, and that distance in pixels."""
    unit = np.linalg.norm(truth[:, EYE_CORNERS[0]] - truth[:, EYE_CORNERS[1]], axis=1)
    return np.linalg.norm(found[..., :2] - truth[..., :2], axis=2) / unit[:, None], unit
