"""Connectionist temporal classification: the likelihood of labels under all their alignments to a longer sequence."""

from __future__ import annotations

import math

from tgc.control import scan
from tgc.errors import AttributeSpecError
from tgc.nn.base import loss
from tgc.nn.layers import is_label
from tgc.nn.positions import sequence_mask
from tgc.nn.softmaxes import log_softmax
from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.elementwise import logaddexp, not_equal, where
from tgc.numpy.indexing import as_indices, take_along_axis
from tgc.numpy.manipulation import broadcast_to, concatenate, expand_dims, reshape, stack, swapaxes
from tgc.numpy.reductions import sum
from tgc.ops import creation
from tgc.types import BOOL, I64

__all__ = ["ctc"]

_NEVER = -1e30  # the logarithm of a probability of zero: finite, so that differences of two are


@loss
def ctc(
    logits: Array,
    labels: ArrayLike,
    *,
    logit_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    blank: int = 0,
) -> Array:
    """-log P(labels | logits), one a sequence (Graves et al., 2006).

    Args:
        logits: [batch, time, classes].
        labels: integers [batch, longest]; those beyond a sequence's length do not count.
        logit_lengths, label_lengths: integers [batch]; all of time, all labels unless given.
        blank: the class of the blank.

    A sequence that is too short for its labels has the loss inf and the gradient 0.

    Raises:
        ShapeError: the operands do not fit, or there is no time.
        AttributeSpecError: `blank` is no class.
        OutOfRangeError: at run time, a label that counts is no class.
    """
    labels = as_indices("ctc", labels)
    if logits.ndim != 3 or labels.ndim != 2 or labels.shape[0] != logits.shape[0] or not logits.shape[1]:
        raise refuse("ctc", [logits, labels], "needs logits [batch, time, classes] and labels [batch, longest]")
    batch, time, classes = logits.shape
    if not 0 <= blank < classes:
        raise AttributeSpecError(f"ctc: blank {blank} is none of {classes} classes")
    n = labels.shape[1]
    counts = [_lengths(logits, lengths, size) for lengths, size in ((logit_lengths, time), (label_lengths, n))]
    wanted = where(sequence_mask(counts[1], n), labels, blank)
    # States: blank, label, blank, label, ..., blank. A label follows the last one without a blank if the two differ.
    blanks = creation.fill((batch, n), wanted.dtype, blank)
    places = reshape(stack([blanks, wanted], -1), (batch, 2 * n))
    places = concatenate([places, creation.fill((batch, 1), wanted.dtype, blank)], 1)
    never = creation.fill((batch, 2), logits.dtype, _NEVER)
    jumps = not_equal(places[:, 2:], places[:, :-2])  # a label that is the blank is one like others, as in Optax
    jumps = concatenate([creation.fill((batch, min(2, 2 * n + 1)), BOOL, False), jumps], 1)

    log_p = log_softmax(logits)
    emitted = take_along_axis(log_p, broadcast_to(expand_dims(places, 1), (batch, time, 2 * n + 1)), -1)
    rows = swapaxes(emitted, 0, 1)
    start = where(_is_first(2 * n + 1, min(2, 2 * n + 1)), rows[0], _NEVER)

    def step(alpha: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        emission, going = row
        before = concatenate([never, alpha], 1)
        reached = logaddexp(alpha, before[:, 1:-1])
        reached = logaddexp(reached, where(jumps, before[:, :-2], _NEVER))
        return where(expand_dims(going, -1), reached + emission, alpha), None

    going = swapaxes(sequence_mask(counts[0], time), 0, 1)
    alpha, _ = scan(step, start, (rows[1:], going[1:]))
    ends = [sum(where(is_label(2 * counts[1] - k, 2 * n + 1, 1), alpha, 0), 1) for k in (0, 1)]
    total = where(counts[1] > 0, logaddexp(ends[0], ends[1]), ends[0])
    return where(total < _NEVER / 2, math.inf, -total)


def _is_first(size: int, n: int) -> Array:
    """bool[size]: True at the first `n` places."""
    return creation.iota(shape=(size,), dtype=I64, axis=0) < n


def _lengths(logits: Array, lengths: ArrayLike | None, size: int) -> Array:
    if lengths is None:
        return creation.fill(logits.shape[:1], I64, size)
    lengths = as_indices("ctc", lengths)
    if lengths.shape != logits.shape[:1]:
        raise refuse("ctc", [logits, as_array(lengths)], "lengths must be [batch]")
    return lengths
