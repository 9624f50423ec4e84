"""Regions that assign to variables: what they assign is a further result of theirs, and what loops assign is carried.

A region's tensors mean nothing outside of it: what it assigns, and the losses that it adds, must leave it as results.
In the body of a loop a variable has the value that the step before has given it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras.src import tree
from keras.src.backend.common.stateless_scope import StatelessScope, get_stateless_scope
from keras.src.backend.common.variables import AutocastScope

import tgc
from tgc import numpy as tnp
from tgc.errors import TraceError

Function = Callable[..., Any]


class Effects(StatelessScope):  # type: ignore[misc]
    """A stateless scope, inside of another if there is one, which knows what is assigned in it and who adds losses.

    Args:
        variables, values: variables that have other values here than outside.
    """

    def __init__(self, variables: Sequence[Any] = (), values: Sequence[Any] = ()) -> None:
        outer = get_stateless_scope()
        super().__init__(
            collect_losses=outer is None or outer.collect_losses,
            initialize_variables=outer is None or outer.initialize_variables,
        )
        self.state_mapping = {} if outer is None else dict(outer.state_mapping)
        self.state_mapping.update({id(v): x for v, x in zip(variables, values, strict=True)})
        self.assigned: dict[int, Any] = {}  # variables by their identities, since they compare by value
        self.owners: list[Any] = []  # the layer of each loss

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Note an assignment."""
        self.assigned[id(update[0])] = update[0]
        super().add_update(update)


def note_owner(layer: Any, losses: Any) -> None:
    """Tell the scope, if it is one of these, whose losses are about to be added: a layer knows its own by identity."""
    scope = get_stateless_scope()
    if isinstance(scope, Effects) and scope.collect_losses:
        scope.owners += [layer] * len(tree.flatten(losses))


def _values(variables: Sequence[Any]) -> list[Any]:
    """The present values, not cast to the dtype of any autocast scope."""
    with AutocastScope(None):
        return [v.value for v in variables]


def _leave(variables: Sequence[Any], values: Sequence[Any], owners: Sequence[Any], losses: Sequence[Any]) -> None:
    """Assign, and add, what has left a region as results."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    for layer, loss in zip(owners, losses, strict=True):
        layer.add_loss(loss)


def _refuse_losses(where: str, scope: Effects) -> None:
    if scope.losses:
        name = scope.owners[0].name
        raise ValueError(f"{where} calls `add_loss`, in the layer {name!r}: return the loss, and add it outside")


def region_with_effects(transform: Callable[[Function], Function], f: Function) -> Function:
    """`transform(f)`, for a transform such as `tgc.checkpoint`, of an `f` that may assign to variables."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if get_stateless_scope() is None:
            return transform(f)(*args, **kwargs)
        variables: list[Any] = []
        owners: list[Any] = []

        def pure(*args: Any, **kwargs: Any) -> tuple[Any, list[Any], list[Any]]:
            with Effects() as scope:
                out = f(*args, **kwargs)
                variables[:], owners[:] = scope.assigned.values(), scope.owners
                return out, _values(variables), list(scope.losses)

        out, values, losses = transform(pure)(*args, **kwargs)
        _leave(variables, values, owners, losses)
        return out

    return wrapper


def branches_with_effects(control: Callable[..., Any], branches: Sequence[Function]) -> Any:
    """`control(*branches)`, which runs one of them, of branches that may assign to variables.

    Raises:
        ValueError: a branch adds a loss.
    """
    if get_stateless_scope() is None:
        return control(*branches)
    assigned: dict[int, Any] = {}

    def pure(branch: Function) -> tuple[Any, list[Any]]:
        with Effects() as scope:
            out = branch()
            _refuse_losses("a branch of `cond` or `switch`", scope)
            assigned.update(scope.assigned)
            return out, _values(list(assigned.values()))

    for branch in branches:  # all return what any of them assigns to, which is known when each has run once
        tgc.eval_shape(lambda branch=branch: pure(branch))
    out, values = control(*(lambda branch=branch: pure(branch) for branch in branches))
    _leave(list(assigned.values()), values, (), ())
    return out


class Loop:
    """A loop whose functions may assign to variables, the values of which it carries.

    Args:
        name: the loop, for messages.
        keeps_losses: whether it returns something of each step: then losses are added, summed over the steps.
    """

    def __init__(self, name: str, keeps_losses: bool = False) -> None:
        self.name, self.keeps_losses = name, keeps_losses
        self._assigned: dict[int, Any] = {}
        self._owners: list[Any] = []

    def body(self, f: Function) -> Function:
        """`f`: (carry, ...) -> (carry, y), with values of variables in the carry, and losses beside y."""

        def pure(carry: tuple[Any, list[Any]], *row: Any) -> tuple[tuple[Any, list[Any]], tuple[Any, list[Any]]]:
            state, values = carry
            variables = self._carried(values)
            with Effects(variables, values) as scope:
                state, y = f(state, *row)
                if not self.keeps_losses:
                    _refuse_losses(f"the body of `{self.name}`", scope)
                self._assigned.update(scope.assigned)
                self._owners = scope.owners
                return (state, _values(variables)), (y, list(scope.losses))

        return pure

    def test(self, f: Function) -> Function:
        """`f`: carry -> whether the loop goes on."""

        def pure(carry: tuple[Any, list[Any]]) -> Any:
            with Effects(self._carried(carry[1]), carry[1]) as scope:
                more = f(carry[0])
                for variable in scope.assigned.values():
                    raise ValueError(f"the condition of `{self.name}` assigns to {variable.path}: let the body do it")
                return more

        return pure

    def _carried(self, values: Sequence[Any]) -> list[Any]:
        """The variables that have these values; others may have been found since the loop was begun."""
        return list(self._assigned.values())[: len(values)]

    def run(self, loop: Function, init: Any) -> tuple[Any, Any]:
        """(the last carry, ys) of `loop((init, values))`, which is traced again once it is known what is assigned."""
        while True:
            variables = list(self._assigned.values())
            (state, values), (ys, losses) = loop((init, _values(variables)))
            if len(self._assigned) == len(variables):
                break
        _leave(variables, values, self._owners, [tnp.sum(x, axis=0) for x in losses])
        return state, ys


def scan_with_effects(
    f: Function, init: Any, xs: Any, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """`tgc.scan` of an `f` that may assign to variables and add losses."""
    loop = Loop("scan", keeps_losses=True)
    body = loop.body(f)
    return loop.run(lambda carry: tgc.scan(body, carry, xs, length, reverse), init)


def map_with_effects(f: Function, elements: Any) -> Any:
    """`tgc.vmap(f)(elements)`, of an `f` that may add losses, and assign what is the same for all elements.

    Raises:
        ValueError: what it assigns depends on the element.
    """
    variables: list[Any] = []
    owners: list[Any] = []

    def pure(x: Any) -> tuple[Any, list[Any], list[Any]]:
        with Effects() as scope:
            out = f(x)
            variables[:], owners[:] = scope.assigned.values(), scope.owners
            return out, list(scope.losses), _values(variables)

    try:
        out, losses, values = tgc.vmap(pure, out_axes=(0, 0, None))(elements)
    except TraceError as error:
        if variables and "out_axes is None" in str(error):
            names = ", ".join(v.path for v in variables)
            raise ValueError(
                f"the function of `vectorized_map` assigns values to {names} that differ from element to element: "
                "return them, or use `map` or `scan`, which go from one to the next"
            ) from error
        raise
    _leave(variables, values, owners, [tnp.sum(x, axis=0) for x in losses])
    return out


def without_effects(name: str, f: Function) -> Function:
    """`f`, for the function `name` that calls it in no order that could be told.

    Raises:
        ValueError: it assigns to a variable or adds a loss.
    """

    def pure(*args: Any) -> Any:
        with Effects() as scope:
            out = f(*args)
            _refuse_losses(f"the function of `{name}`", scope)
            for variable in scope.assigned.values():
                raise ValueError(f"the function of `{name}` assigns to {variable.path}: use `scan`, which has an order")
            return out

    return pure
