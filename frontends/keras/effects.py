"""Regions that assign to variables: what they assign is a further result of theirs.

A region's tensors mean nothing outside of it: what it assigns in a stateless scope, and the losses that it adds, must
leave it as results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras.src.backend.common.stateless_scope import StatelessScope, get_stateless_scope

import tgc

Function = Callable[..., Any]


class Effects(StatelessScope):  # type: ignore[misc]
    """A stateless scope inside of another, which knows what was assigned in it."""

    def __init__(self, outer: StatelessScope) -> None:
        super().__init__(collect_losses=outer.collect_losses, initialize_variables=outer.initialize_variables)
        self.state_mapping = dict(outer.state_mapping)
        self.assigned: dict[int, Any] = {}  # variables by their identities, since they compare by value

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Note an assignment."""
        self.assigned[id(update[0])] = update[0]
        super().add_update(update)

    def values(self, variables: Sequence[Any]) -> list[Any]:
        """The present values, not cast to the dtype of any autocast scope."""
        held = [self.get_current_value(v) for v in variables]
        return [v._value if x is None else x for v, x in zip(variables, held, strict=True)]


def region_with_effects(transform: Callable[[Function], Function], f: Function) -> Function:
    """`transform(f)`, for a transform such as `tgc.checkpoint`, of an `f` that may assign to variables."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        outer = get_stateless_scope()
        if outer is None:
            return transform(f)(*args, **kwargs)
        variables: list[Any] = []

        def pure(*args: Any, **kwargs: Any) -> tuple[Any, list[Any], list[Any]]:
            with Effects(outer) as scope:
                out = f(*args, **kwargs)
                variables[:] = scope.assigned.values()
                return out, list(scope.losses), scope.values(variables)

        out, losses, values = transform(pure)(*args, **kwargs)
        for variable, value in zip(variables, values, strict=True):
            outer.add_update((variable, value))
        for loss in losses:
            outer.add_loss(loss)
        return out

    return wrapper


def branches_with_effects(control: Callable[..., Any], branches: Sequence[Function]) -> Any:
    """`control(*branches)`, which runs one of them, of branches that may assign to variables.

    Raises:
        ValueError: a branch adds a loss.
    """
    outer = get_stateless_scope()
    if outer is None:
        return control(*branches)
    assigned: dict[int, Any] = {}

    def pure(branch: Function) -> tuple[Any, list[Any]]:
        with Effects(outer) as scope:
            out = branch()
            if scope.losses:
                raise ValueError("a branch of `cond` or `switch` calls `add_loss`: return the loss, and add it outside")
            assigned.update(scope.assigned)
            return out, scope.values(list(assigned.values()))

    for branch in branches:  # all return what any of them assigns to, which is known when each has run once
        tgc.eval_shape(lambda branch=branch: pure(branch))
    out, values = control(*(lambda branch=branch: pure(branch) for branch in branches))
    for variable, value in zip(assigned.values(), values, strict=True):
        outer.add_update((variable, value))
    return out
