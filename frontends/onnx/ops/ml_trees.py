"""Ensembles of trees (domain ai.onnx.ml).

All trees are walked at once: the state is one node for each row and tree, and a step takes each to one of its children,
as many times as the deepest tree is deep. Leaves are their own children.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tgc
from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.ops.ml_features import ML, Ints, Strings, labelled, one_of
from tgc.frontends.onnx.ops.ml_models import transformed
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor

LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF = range(8)
_MODES = {name: code for code, name in enumerate(("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"))}
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees, one entry of each array a node.

    Attributes:
        modes: the comparison of a feature with the node's number, or LEAF.
        features, numbers: what is compared.
        children: int64[nodes, 2], where to go if it does not hold, and if it does.
        missing: whether it holds for NaN.
        roots: int64[trees].
        votes: what a leaf gives to targets: (leaf, target, weight).
    """

    modes: Array
    features: Array
    numbers: Array
    children: Array
    missing: Array
    roots: Array
    votes: Sequence[tuple[int, int, float]]

    @property
    def depth(self) -> int:
        """The largest number of comparisons on a way from a root to a leaf."""
        level, depth, seen = set(self.roots.tolist()), 0, 0
        while inner := [k for k in level if self.modes[k] != LEAF]:
            depth, seen = depth + 1, seen + len(inner)
            if seen > len(self.modes):
                raise InvalidModelError("the nodes of an ensemble are no trees")
            level = set(self.children[inner].ravel().tolist())
        return depth

    def leaves(self, x: Tensor) -> Tensor:
        """int64[rows, trees]: the leaf that each row of features comes to."""
        numbers = self.numbers.astype(x.dtype)
        used = sorted(set(self.modes.tolist()) - {LEAF})

        def step(_: Any, at: Tensor) -> Tensor:
            value = tnp.take_along_axis(x, tnp.take(self.features, at), 1)
            number, mode = tnp.take(numbers, at), tnp.take(self.modes, at)
            holds: Any = False
            for code in used:
                compared = _COMPARISONS[code](value, number)
                holds = compared if len(used) == 1 else tnp.where(mode == code, compared, holds)
            if self.missing.any():
                holds = tnp.logical_or(holds, tnp.logical_and(tnp.isnan(value), tnp.take(self.missing, at)))
            return tnp.where(holds, tnp.take(self.children[:, 1], at), tnp.take(self.children[:, 0], at))

        start = tnp.broadcast_to(self.roots, (x.shape[0], len(self.roots)))
        return tgc.fori_loop(0, self.depth, step, start)

    def scores(self, x: Tensor, targets: int, aggregate: str, base: Array | None) -> Tensor:
        """[rows, targets] in x's dtype: the trees' votes combined, and `base` added."""
        least = aggregate == "MIN"
        none = 0 if aggregate in ("SUM", "AVERAGE") else float(np.finfo(x.dtype).max) * (1 if least else -1)
        table = np.full((len(self.modes), targets), none, x.dtype)
        combine = {"MIN": np.minimum, "MAX": np.maximum}.get(aggregate, np.add)
        for leaf, target, weight in self.votes:
            table[leaf, target] = combine(table[leaf, target], x.dtype.type(weight))
        votes = tnp.take(table, self.leaves(x), 0)
        if aggregate in ("MIN", "MAX"):
            total = (tnp.min if least else tnp.max)(votes, 1)
        else:
            total = tnp.divide(tnp.sum(votes, 1), len(self.roots) if aggregate == "AVERAGE" else 1)
        return total if base is None or not base.size else tnp.add(total, base.astype(x.dtype))


_COMPARISONS = (tnp.less_equal, tnp.less, tnp.greater_equal, tnp.greater, tnp.equal, tnp.not_equal)


def _numbers(x: Tensor) -> Tensor:
    return x if x.dtype in (np.float32, np.float64) else tnp.astype(x, np.float32)


@converts("TreeEnsemble", since=5, domain=ML)
def tree_ensemble(
    x: Tensor,
    /,
    *,
    aggregate_function: int = 1,
    leaf_targetids: Ints,
    leaf_weights: Array,
    membership_values: Array | None = None,
    n_targets: int = 1,
    nodes_falseleafs: Ints,
    nodes_falsenodeids: Ints,
    nodes_featureids: Ints,
    nodes_hitrates: Array | None = None,
    nodes_missing_value_tracks_true: Ints = (),
    nodes_modes: Array,
    nodes_splits: Array,
    nodes_truenodeids: Ints,
    nodes_trueleafs: Ints,
    post_transform: int = 0,
    tree_roots: Ints,
) -> Tensor:
    """ONNX TreeEnsemble, [rows, targets]. A test for membership becomes tests for equality, one after the other."""
    inner, leaves = len(nodes_modes), len(leaf_weights)
    modes, numbers = nodes_modes.astype(np.int64).tolist(), nodes_splits.tolist()
    features, missing = list(nodes_featureids), list(nodes_missing_value_tracks_true) or [0] * inner
    children = [
        [n + inner if leaf else n for n, leaf in pair]
        for pair in zip(
            zip(nodes_falsenodeids, nodes_falseleafs, strict=True),
            zip(nodes_truenodeids, nodes_trueleafs, strict=True),
            strict=True,
        )
    ]
    own = [[inner + k, inner + k] for k in range(leaves)]
    modes, numbers, features = modes + [LEAF] * leaves, numbers + [0.0] * leaves, features + [0] * leaves
    missing, children = missing + [0] * leaves, children + own
    members = _sets(membership_values)
    for k in range(inner):
        if modes[k] != MEMBER:
            continue
        at, (first, *rest) = k, next(members, []) or [np.nan]  # nothing equals NaN
        modes[k], numbers[k] = EQ, first
        for value in rest:
            modes.append(EQ)
            numbers.append(value)
            features.append(features[k])
            missing.append(missing[k])
            children.append(list(children[at]))
            children[at][0] = at = len(modes) - 1
    trees = Trees(
        np.array(modes), np.array(features), np.array(numbers, nodes_splits.dtype), np.array(children),
        np.array(missing, bool), np.array(tree_roots),
        [(inner + k, t, w) for k, (t, w) in enumerate(zip(leaf_targetids, leaf_weights.tolist(), strict=True))],
    )  # fmt: skip
    scores = trees.scores(_numbers(x), n_targets, _AGGREGATES[aggregate_function], None)
    return transformed(scores, _TRANSFORMS[post_transform])


def _sets(values: Array | None) -> Iterator[list[float]]:
    """The sets of numbers that NaNs are behind."""
    listed: list[float] = []
    for value in () if values is None else values.tolist():
        if np.isnan(value):
            yield listed
            listed = []
        else:
            listed.append(value)


def _trees(attributes: Mapping[str, Any], voted: str, ids: str) -> Trees:
    """The trees of the older operators, whose nodes are numbered in each tree, leaves among them."""
    keys = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    place = {key: k for k, key in enumerate(keys)}
    if len(place) < len(keys):
        raise InvalidModelError("a node of a tree is there twice")
    names = attributes["nodes_modes"]
    modes = np.array([LEAF if name == "LEAF" else _MODES[name.removeprefix("BRANCH_")] for name in names])
    branches = zip(attributes["nodes_falsenodeids"], attributes["nodes_truenodeids"], strict=True)
    children = [
        [k, k] if modes[k] == LEAF else [place[tree, a], place[tree, b]]
        for k, ((tree, _), (a, b)) in enumerate(zip(keys, branches, strict=True))
    ]
    roots: dict[int, int] = {}
    for k, (tree, _) in enumerate(keys):
        roots.setdefault(tree, k)
    of = [place[key] for key in zip(attributes[f"{voted}_treeids"], attributes[f"{voted}_nodeids"], strict=True)]
    weights = _either(attributes, f"{voted}_weights")
    return Trees(
        modes, np.array(attributes["nodes_featureids"]), _either(attributes, "nodes_values"), np.array(children),
        np.array(attributes.get("nodes_missing_value_tracks_true") or [0] * len(keys), bool),
        np.array(list(roots.values())), list(zip(of, attributes[ids], weights.tolist(), strict=True)),
    )  # fmt: skip


def _either(attributes: Mapping[str, Any], name: str) -> Array:
    """An attribute that is a list of float32 or, under another name, a tensor."""
    tensor = attributes.get(f"{name}_as_tensor")
    return np.asarray(attributes.get(name, ()), np.float32) if tensor is None else tensor


@converts("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(
    x: Tensor, /, *, aggregate_function: str = "SUM", n_targets: int = 1, post_transform: str = "NONE", **trees: Any
) -> Tensor:
    """ONNX TreeEnsembleRegressor, [rows, targets]."""
    base = _either(trees, "base_values")
    scores = _trees(trees, "target", "target_ids").scores(_numbers(x), n_targets, aggregate_function, base)
    return tnp.astype(transformed(scores, post_transform), np.float32)


@converts("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(
    x: Tensor,
    /,
    *,
    classlabels_int64s: Ints = (),
    classlabels_strings: Strings = (),
    post_transform: str = "NONE",
    **trees: Any,
) -> tuple[Tensor, Tensor]:
    """ONNX TreeEnsembleClassifier: labels, and the classes' scores.

    Trees may vote for one of two classes only. Its score s is a probability if no weight is negative, and the other
    class has 1 - s; else the other class has -s.
    """
    labels = one_of("TreeEnsembleClassifier", classlabels_int64s, classlabels_strings)
    ensemble, base, count = _trees(trees, "class", "class_ids"), _either(trees, "base_values"), len(labels)
    voted = {target for _, target, _ in ensemble.votes}
    if count > 2 or len(voted) > 1:
        scores = ensemble.scores(_numbers(x), count, "SUM", base)
        return labelled(tnp.argmax(scores, 1), labels), tnp.astype(transformed(scores, post_transform), np.float32)
    (target,) = voted
    one = ensemble.scores(_numbers(x), count, "SUM", None)[:, target]
    one = tnp.add(one, base[-1].astype(one.dtype)) if base.size else one
    positive = all(weight >= 0 for *_, weight in ensemble.votes)
    wins = tnp.greater(one, 0.5 if positive else 0)
    if positive:
        scores = tnp.stack([1 - one, one], 1)
    else:
        scores = transformed(tnp.stack([tnp.negative(one), one], 1), post_transform)
    places = tnp.astype(wins, np.int64)
    label = labelled(places, labels) if count == 2 else tnp.where(wins, labels[0], 0)
    return label, tnp.astype(scores, np.float32)
