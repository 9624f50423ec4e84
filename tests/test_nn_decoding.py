"""Decoding of CTC: against all alignments of short sequences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tgc
from tgc import nn
from tgc.errors import AttributeSpecError, ShapeError


def labels_of(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def likeliest(logits: np.ndarray, blank: int) -> list[tuple[tuple[int, ...], float]]:
    """All labels and their log-probabilities, the likeliest first."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        p = float(np.exp(sum(row[c] for row, c in zip(log_p, path, strict=True))))
        found[labels_of(path, blank)] = found.get(labels_of(path, blank), 0) + p
    return sorted(((k, float(np.log(p))) for k, p in found.items()), key=lambda item: -item[1])


@pytest.mark.parametrize("blank", [0, 2])
def test_beam_search_that_keeps_everything_is_exact(blank: int) -> None:
    logits = np.random.default_rng(blank).standard_normal((3, 5, 3)) * 2
    lengths = np.array([5, 3, 1])
    search = lambda x, n: nn.ctc_beam_search(x, n, width=60, paths=3, blank=blank)  # noqa: E731
    paths, scores = tgc.jit(search)(logits, lengths)
    for b, n in enumerate(lengths):
        best = likeliest(logits[b, :n], blank)
        for k, (labels, score) in enumerate(best[:3]):
            assert tuple(paths[b, k][paths[b, k] >= 0]) == labels
            np.testing.assert_allclose(scores[b, k], score, rtol=1e-9)
    eager = search(logits, lengths)
    np.testing.assert_array_equal(eager[0], paths)
    np.testing.assert_allclose(eager[1], scores)


def test_beam_search_tells_what_is_impossible() -> None:
    paths, scores = nn.ctc_beam_search(np.zeros((1, 1, 2), np.float32), width=4, paths=3)
    np.testing.assert_array_equal(paths[0, :, 0] >= 0, [False, True, False])
    np.testing.assert_allclose(scores[0], [np.log(0.5)] * 2 + [-np.inf], rtol=1e-6)


def test_greedy_merges_and_leaves_out() -> None:
    best = np.array([[1, 1, 0, 1, 2, 2], [0, 2, 2, 1, 1, 1]])
    logits = np.eye(3, dtype=np.float32)[best]
    lengths = np.array([6, 4])
    labels, scores = nn.ctc_greedy(logits, lengths)
    np.testing.assert_array_equal(labels, [[1, 1, 2, -1, -1, -1], [2, 1, -1, -1, -1, -1]])
    np.testing.assert_array_equal(scores, [6, 4])
    labels, _ = nn.ctc_greedy(logits, lengths, blank=2, merge_repeated=False)
    np.testing.assert_array_equal(labels, [[1, 1, 0, 1, -1, -1], [0, 1, -1, -1, -1, -1]])


def test_operands_that_do_not_fit_are_refused() -> None:
    logits = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(AttributeSpecError, match="blank 4"):
        nn.ctc_greedy(logits, blank=4)
    with pytest.raises(ShapeError, match="lengths"):
        nn.ctc_greedy(logits, np.array([1, 2, 3]))
    with pytest.raises(AttributeSpecError, match="5 paths"):
        nn.ctc_beam_search(logits, width=4, paths=5)
