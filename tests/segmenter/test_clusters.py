from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.identity import unit
from segmenter.people import clusters
from segmenter.people.clusters import cluster


def crowd(num_people, num_each, *, noise=0.5, seed=1, size=64):
    """Return (vectors, truth): directions of people, each with noise of its own, shuffled."""
    random = np.random.default_rng(seed)
    centres = [unit(random.standard_normal(size).astype(np.float32)) for _ in range(num_people)]
    truth = random.permutation(np.repeat(np.arange(num_people), num_each))
    vectors = [unit(centres[p] + noise * unit(random.standard_normal(size).astype(np.float32))) for p in truth]
    return vectors, [int(person) for person in truth]


def joined(vectors, rivals=(), least_cosine=0.5):
    return cluster(vectors, [1.0] * len(vectors), rivals, least_cosine=least_cosine)


def partition(labels):
    groups = defaultdict(list)
    for number, label in enumerate(labels):
        groups[label].append(number)
    return sorted(groups.values())


def test_people_are_found_and_labelled_as_they_appear():
    vectors, truth = crowd(6, 15)
    labels = joined(vectors)
    assert partition(labels) == partition(truth)
    assert list(dict.fromkeys(labels)) == list(range(6))


def test_no_vector_and_one_vector():
    assert joined([]) == []
    assert joined(crowd(1, 1)[0]) == [0]


def test_a_vector_without_direction_is_like_none():
    vectors, truth = crowd(2, 5)
    assert partition(joined([*vectors, np.zeros(64, np.float32)])) == partition([*truth, 2])


def test_two_who_are_seen_at_once_are_two_however_alike():
    vectors, _ = crowd(1, 12, noise=0.2)
    labels = joined(vectors, [(0, 1), (5, 1)])
    assert labels[0] != labels[1] != labels[5]
    assert len(set(labels)) == 2


@pytest.mark.parametrize("block", [7, 20])
def test_in_blocks_the_same_people_are_found(monkeypatch, block):
    vectors, truth = crowd(5, 40)
    monkeypatch.setattr(clusters, "BLOCK", block)
    assert partition(joined(vectors)) == partition(truth)


def test_memory_is_bounded_for_many_who_are_all_different(monkeypatch):
    monkeypatch.setattr(clusters, "BLOCK", 16)
    sizes = []
    labels_of = clusters._labels
    monkeypatch.setattr(clusters, "_labels", lambda v, *rest: sizes.append(len(v)) or labels_of(v, *rest))
    assert len(set(joined(list(np.eye(100, dtype=np.float32))))) == 100
    assert max(sizes) <= 32


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 8), st.floats(0.1, 1.5), st.integers(0, 99), st.data())
def test_what_always_holds(num_people, num_each, noise, seed, data):
    vectors, _ = crowd(num_people, num_each, noise=noise, seed=seed, size=8)
    count = len(vectors)
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    rivals = data.draw(st.lists(pair, max_size=6)) if count > 1 else []
    labels = joined(vectors, rivals)
    assert len(labels) == count
    assert labels == joined(vectors, rivals[::-1])
    assert all(labels[a] != labels[b] for a, b in rivals)
    assert sorted(set(labels)) == list(range(len(set(labels))))
