"""PURE: group vectors by direction, with pairs that must stay apart: SciPy's hierarchical clustering, in blocks.

    vectors --blocks of BLOCK, average linkage--> groups --their means, in blocks again--> groups ... until none merge

A distance matrix grows with the square of its vectors; blocks bound it (16 MB), whatever the length of the video. The
result depends on the vectors and their order alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from media.identity import Vector, unit

BLOCK = 2000
"""Number of vectors that are compared with each other at once."""
APART = 1e9
"""Distance of two vectors that must stay apart: one such pair puts the mean distance of two groups out of reach."""

_Group = list[int]


def cluster(
    vectors: Sequence[Vector],
    weights: Sequence[float],
    rivals: Sequence[tuple[int, int]],
    *,
    least_cosine: float,
) -> list[int]:
    """Return a label for each vector, 0 and up in order of appearance.

    Two groups become one while the mean cosine between them is least_cosine or more, the nearest first, unless they
    hold a pair of rivals (indexes of vectors). weights: how much each vector counts in the mean of its group.
    """
    groups: list[_Group] = [[number] for number in range(len(vectors))]
    block = BLOCK
    while True:
        merged = _round(groups, vectors, weights, rivals, least_cosine, block)
        if len(merged) == len(groups):
            if len(groups) <= block or block > BLOCK:
                break
            block *= 2  # similar groups may have been in different blocks; four times the memory, once
        groups = merged
    labels = [0] * len(vectors)
    for label, group in enumerate(sorted(groups)):
        for number in group:
            labels[number] = label
    return labels


def _round(
    groups: list[_Group],
    vectors: Sequence[Vector],
    weights: Sequence[float],
    rivals: Sequence[tuple[int, int]],
    least_cosine: float,
    block: int,
) -> list[_Group]:
    """Join the groups of each block by their means; return all groups, each sorted."""
    group_of = {number: index for index, group in enumerate(groups) for number in group}
    apart = {(group_of[first], group_of[second]) for first, second in rivals}
    means = [unit(sum(weights[number] * vectors[number] for number in group)) for group in groups]  # type: ignore[arg-type]
    merged: list[_Group] = []
    for start in range(0, len(groups), block):
        stop = min(start + block, len(groups))
        inside = [(a - start, b - start) for a, b in apart if start <= min(a, b) and max(a, b) < stop]
        labels = _labels(np.stack(means[start:stop]), inside, least_cosine)
        for label in sorted(set(labels)):
            members = [groups[start + index] for index in np.flatnonzero(labels == label)]
            merged.append(sorted(number for group in members for number in group))
    return sorted(merged)


def _labels(vectors: NDArray[np.float32], rivals: Sequence[tuple[int, int]], least_cosine: float) -> NDArray[np.int32]:
    from scipy.cluster.hierarchy import fcluster, linkage  # takes a third of a second, which most jobs can save
    from scipy.spatial.distance import pdist

    count = len(vectors)
    if count < 2:
        return np.ones(count, np.int32)
    distances = np.nan_to_num(
        pdist(vectors.astype(np.float64), "cosine"), nan=1.0
    )  # a vector of zeros is similar to none
    for first, second in rivals:
        low, high = min(first, second), max(first, second)
        distances[count * low - low * (low + 1) // 2 + high - low - 1] = APART
    return np.asarray(fcluster(linkage(distances, "average"), 1 - least_cosine, criterion="distance"), np.int32)
