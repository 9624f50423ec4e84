"""Steps of training, evaluation and prediction, compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import optree

import tgc
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.frontends.keras.variable import Variable
from tgc.jit import Compiled, Jit

Groups = Sequence[Sequence[Variable]]
State = Sequence[Sequence[Tensor]]  # their values
Step = Callable[[Any, Any], tuple[Any, Any]]  # (state, data) -> (outputs, new state)


class Program:
    """A step as a program for each kind of batch.

    Args:
        step: what is compiled.
        joined: if the data is several batches, stacked, which the program goes through in a loop: what becomes of
            their outputs, which are stacked, too.
        in_place: whether the program updates the variables' arrays, else new arrays are made for those that change.
    """

    def __init__(self, step: Step, joined: Callable[[Tensor], Tensor] | None = None, in_place: bool = True) -> None:
        self._step, self._joined, self._in_place = step, joined, in_place
        self._groups: Groups = ()
        self._known: dict[Any, tuple[Compiled, Any, Sequence[int]]] = {}
        self._jit = Jit(self._traced, "state" if in_place else (), (), "cpu")

    def __call__(self, groups: Groups, data: Any) -> Any:
        """The outputs for `data`, a pytree of arrays; the variables have their new values."""
        leaves, structure = optree.tree_flatten(data)
        arrays = [native(x) for x in leaves]
        variables = list(chain.from_iterable(groups))
        state = [v.to_update() for v in variables] if self._in_place else [v.to_read() for v in variables]
        key = structure, tuple(map(len, groups)), tuple((x.shape, x.dtype) for x in arrays)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compiled(groups, optree.tree_unflatten(structure, arrays))
        compiled, outputs, changed = known
        made = compiled.executable([*state, *arrays])
        if not self._in_place:
            for k, array in zip(changed, made, strict=False):
                variables[k].assign(array)
        return optree.tree_unflatten(outputs, made[len(changed) :])

    # ----------------------------------------------------------------------------------------------------- internals

    def _compiled(self, groups: Groups, data: Any) -> tuple[Compiled, Any, Sequence[int]]:
        """The program for such data, the structure of its outputs, and the variables whose values come before these."""
        self._groups = groups
        compiled = self._jit.compiled([[v.to_read() for v in group] for group in groups], data)
        assert compiled.results is not None
        changed, outputs = compiled.results.children()
        return compiled, outputs, changed.entries()

    def _traced(self, state: State, data: Any) -> tuple[dict[int, Tensor], Any]:
        new, outputs = (self._once if self._joined is None else self._loop)(state, data)
        pairs = zip(chain.from_iterable(state), chain.from_iterable(new), strict=True)
        return {k: y for k, (x, y) in enumerate(pairs) if self._in_place or y is not x}, outputs

    def _once(self, state: State, data: Any) -> tuple[list[list[Tensor]], Any]:
        outputs, new = self._step(state, data)
        return self._fitting(state, new), outputs

    def _loop(self, state: State, batches: Any) -> tuple[list[list[Tensor]], Any]:
        assert self._joined is not None
        new, outputs = tgc.scan(self._once, [list(values) for values in state], batches)
        return new, optree.tree_map(self._joined, outputs)

    def _fitting(self, old: State, new: State) -> list[list[Tensor]]:
        """The new state in the dtypes of the old one.

        Raises:
            ValueError: it has other shapes, or not as many tensors.
        """
        found = []
        for variables, before, after in zip(self._groups, old, new, strict=True):
            if len(before) != len(after):
                raise ValueError(f"a step got the values of {len(before)} variables, and returns {len(after)}")
            made = [x if y is None else convert_to_tensor(y, x.dtype) for x, y in zip(before, after, strict=True)]
            for variable, x, y in zip(variables, before, made, strict=True):
                if tuple(x.shape) != tuple(y.shape):
                    raise ValueError(f"a step returns the shape {y.shape} for {variable.path}, which has {x.shape}")
            found.append(made)
        return found


def native(x: Any) -> np.ndarray:
    """An array in the machine's byte order."""
    array = x if type(x) is np.ndarray else np.asarray(x)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def alike(batches: Sequence[Any]) -> bool:
    """Whether batches have the same structure, shapes and dtypes, so that they can be stacked."""
    kinds = []
    for batch in batches:
        leaves, structure = optree.tree_flatten(batch)
        kinds.append((structure, [(x.shape, x.dtype) if isinstance(x, np.ndarray) else type(x) for x in leaves]))
    return all(kind == kinds[0] for kind in kinds[1:])


def eager(step: Step, groups: Groups, data: Any) -> Any:
    """The outputs of a step that runs as it is written; the variables have their new values."""
    outputs, new = step([[v.value for v in group] for group in groups], data)
    for variable, value in zip(chain.from_iterable(groups), chain.from_iterable(new), strict=True):
        if value is not None:
            variable.assign(value)
    return outputs
