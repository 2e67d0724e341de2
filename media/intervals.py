"""PURE: interval algebra. Intervals are half-open; lists of them are sorted and disjoint."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

Interval = tuple[int, int]


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of intervals, touching ones joined, empty ones dropped.

    [----)  [---)              [----)
       [------)         ->     [---------)
    """
    out: list[Interval] = []
    for start, stop in sorted(intervals):
        if stop <= start:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def intersect(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what two lists of intervals share.

    [--------)   [----)
        [----------)       ->      [---)   [-)
    """
    out: list[Interval] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, stop = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < stop:
            out.append((start, stop))
        if a[i][1] <= b[j][1]:
            i += 1
        else:
            j += 1
    return out


def complement(intervals: Sequence[Interval], start: int, stop: int) -> list[Interval]:
    """Return the gaps that intervals leave in [start, stop).

    |  [---)    [--)   |    ->    [-)   [---)  [--)
    """
    out: list[Interval] = []
    for first, last in intervals:
        if start < min(first, stop):
            out.append((start, min(first, stop)))
        start = max(start, last)
    if start < stop:
        out.append((start, stop))
    return out


def subtract(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what is left of a list of intervals without those of another.

    [--------)   [----)
        [----------)       ->  [---)        [--)
    """
    return [left for start, stop in a for left in complement(b, start, stop)]


def contains(intervals: Sequence[Interval], value: int) -> bool:
    """Tell whether a value lies in one of the intervals."""
    at = bisect_right(intervals, value, key=lambda interval: interval[0]) - 1
    return at >= 0 and value < intervals[at][1]


def even_pieces(start: int, stop: int, longest: int) -> Iterator[Interval]:
    """Cut [start, stop) into the fewest pieces of at most `longest`, their lengths differing by at most one."""
    num_pieces = -(-(stop - start) // longest)
    for piece in range(num_pieces):
        yield (
            start + (stop - start) * piece // num_pieces,
            start + (stop - start) * (piece + 1) // num_pieces,
        )
