"""The labels of a sequence from the outputs of a network trained with `tgc.nn.ctc`."""

from __future__ import annotations

import math

from tgc.control import scan
from tgc.errors import AttributeSpecError
from tgc.nn.positions import sequence_mask
from tgc.nn.softmaxes import log_softmax
from tgc.numpy.base import Array, ArrayLike, along, as_real, refuse
from tgc.numpy.elementwise import (
    equal,
    greater_equal,
    less,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    where,
)
from tgc.numpy.indexing import as_indices, take_along_axis
from tgc.numpy.manipulation import broadcast_to, concatenate, expand_dims, reshape, swapaxes
from tgc.numpy.reductions import all, any, argmax, max, sum
from tgc.numpy.sorting import argsort, top_k
from tgc.numpy.updates import at
from tgc.ops import creation
from tgc.ops.arithmetic import as_tensor
from tgc.types import BOOL, I32, I64

__all__ = ["ctc_beam_search", "ctc_greedy"]

_NEVER = -1e30  # the logarithm of a probability of zero: finite, so that differences of two are


def _going(function: str, logits: Array, lengths: ArrayLike | None, blank: int) -> Array:
    """bool[batch, time]: which steps there are."""
    if logits.ndim != 3 or not logits.shape[1]:
        raise refuse(function, [logits], "needs logits [batch, time, classes]")
    batch, time, classes = logits.shape
    if not 0 <= blank < classes:
        raise AttributeSpecError(f"{function}: blank {blank} is none of {classes} classes")
    if lengths is None:
        return creation.fill((batch, time), BOOL, True)
    lengths = as_indices(function, lengths)
    if lengths.shape != (batch,):
        raise refuse(function, [logits, lengths], "lengths must be [batch]")
    return sequence_mask(lengths, time)


def ctc_greedy(
    logits: ArrayLike, lengths: ArrayLike | None = None, *, blank: int = 0, merge_repeated: bool = True
) -> tuple[Array, Array]:
    """(int32[batch, time] labels, filled with -1, and [batch] the sum of the logits) of the best class at each step.

    Args:
        logits: [batch, time, classes].
        lengths: integers [batch]; all of time unless given.
        blank: the class of the blank, which is left out.
        merge_repeated: whether a class that follows itself counts once.

    Raises:
        ShapeError: the operands do not fit, or there is no time.
        AttributeSpecError: `blank` is no class.
    """
    logits = as_real(logits)
    going = _going("ctc_greedy", logits, lengths, blank)
    labels = as_tensor(argmax(logits, -1), I32)
    absent = logical_or(equal(labels, blank), logical_not(going))
    if merge_repeated:
        repeated = equal(labels[:, 1:], labels[:, :-1])
        absent = logical_or(absent, concatenate([creation.fill((labels.shape[0], 1), BOOL, False), repeated], 1))
    places = creation.iota(shape=labels.shape, dtype=I64, axis=1)
    order = argsort(where(absent, labels.shape[1], places), -1)
    return take_along_axis(where(absent, -1, labels), order, 1), sum(where(going, max(logits, -1), 0), 1)


def ctc_beam_search(
    logits: ArrayLike, lengths: ArrayLike | None = None, *, width: int = 100, paths: int = 1, blank: int = 0
) -> tuple[Array, Array]:
    """(int32[batch, paths, time] the likeliest labels, filled with -1, and [batch, paths] their log-probabilities).

    Of all prefixes, the `width` likeliest are kept at each step (Hannun et al., "First-pass large vocabulary continuous
    speech recognition using bi-directional recurrent DNNs", 2014). If fewer than `paths` labels are possible, the other
    paths have the log-probability -inf.

    Args:
        logits: [batch, time, classes].
        lengths: integers [batch]; all of time unless given.
        width: how many prefixes are kept.
        paths: how many labels are returned, the likeliest first.
        blank: the class of the blank.

    Raises:
        ShapeError: the operands do not fit, or there is no time.
        AttributeSpecError: `blank` is no class, or there are more paths than `width`.
    """
    logits = as_real(logits)
    going = _going("ctc_beam_search", logits, lengths, blank)
    if not 1 <= paths <= width:
        raise AttributeSpecError(f"ctc_beam_search: {paths} paths; there can be 1 to {width}, the width")
    batch, time, classes = logits.shape
    log_p = log_softmax(logits)
    beams = (batch, width)
    places = creation.iota(shape=(*beams, time), dtype=I64, axis=2)
    number, row_of = (creation.iota(shape=beams, dtype=I64, axis=axis) for axis in (1, 0))
    column = creation.iota(shape=(*beams, classes), dtype=I64, axis=2)

    def step(state: tuple[Array, ...], row: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        prefixes, counts, in_blank, in_label = state
        now, on = row
        total = logaddexp(in_blank, in_label)
        last = as_tensor(take_along_axis(prefixes, expand_dims(maximum(counts - 1, 0), 2), 2)[..., 0], I64)
        known = maximum(last, 0)  # the last label is -1 of an empty prefix
        # A prefix stays as it is by a blank, or by its last label again.
        by_blank = total + now[:, blank : blank + 1]
        again = where(counts > 0, in_label + take_along_axis(now, known, 1), _NEVER)
        # Or it grows: by its last label only after a blank.
        before = where(equal(column, expand_dims(last, 2)), expand_dims(in_blank, 2), expand_dims(total, 2))
        grown = where(equal(column, blank), _NEVER, before + expand_dims(now, 1))
        grown = reshape(grown, (batch, width * classes))
        # What grows into another prefix b that is kept counts there. [batch, a, b]: whether a and the last of b are b.
        a, b = expand_dims(prefixes, 2), expand_dims(prefixes, 1)
        beyond = greater_equal(along(places[0, 0], [3], (batch, width, width, time)), counts[:, :, None, None])
        same = all(logical_or(equal(a, b), beyond), -1)
        same = logical_and(same, equal(expand_dims(counts, 2) + 1, expand_dims(counts, 1)))
        same = logical_and(same, expand_dims(total > _NEVER / 2, 1))
        twice, source = any(same, 1), argmax(same, 1) * classes + known
        again = logaddexp(again, where(twice, take_along_axis(grown, source, 1), _NEVER))
        grown = at(grown)[row_of, source].min(where(twice, _NEVER, math.inf))

        scores = concatenate([logaddexp(by_blank, again), grown], 1)
        best = top_k(scores, width)[1]
        stays = less(best, width)
        parent = where(stays, best, (best - width) // classes)
        label = as_tensor((best - width) % classes, I32)
        length = take_along_axis(counts, parent, 1)
        rows = take_along_axis(prefixes, broadcast_to(expand_dims(parent, 2), (*beams, time)), 1)
        end = logical_and(equal(places, expand_dims(length, 2)), expand_dims(logical_not(stays), 2))
        new = (
            where(end, expand_dims(label, 2), rows),
            where(stays, length, length + 1),
            where(stays, take_along_axis(by_blank, parent, 1), _NEVER),
            where(stays, take_along_axis(again, parent, 1), take_along_axis(scores, best, 1)),
        )
        kept = [where(along(on, [0], n.shape), n, old) for n, old in zip(new, state, strict=True)]
        return tuple(kept), None

    first = (
        creation.fill((*beams, time), I32, -1),
        creation.fill(beams, I64, 0),
        as_tensor(where(equal(number, 0), 0.0, _NEVER), log_p.dtype),
        creation.fill(beams, log_p.dtype, _NEVER),
    )
    (prefixes, _, in_blank, in_label), _ = scan(step, first, (swapaxes(log_p, 0, 1), swapaxes(going, 0, 1)))
    total = logaddexp(in_blank, in_label)[:, :paths]
    possible = greater_equal(total, _NEVER / 2)
    return where(expand_dims(possible, 2), prefixes[:, :paths], -1), where(possible, total, -math.inf)
