"""The table of rules: how each ONNX operator becomes tgc's functions. A rule is defined in one place, by `converts`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from tgc.frontends.onnx.errors import UnsupportedOperatorError

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    """How one operator is computed, from one version of its operator set until the next rule's.

    `function` takes the operands by position and the attributes by ONNX's names. Parameters without a default are what
    a node must have; operands that are left out are None. It returns the output, or a tuple of as many as there are.

    Attributes:
        domain, name, since: the operator, and the first version of its operator set that the rule is for.
        static: names of parameters that must be NumPy arrays when the rule is applied: shapes, axes, counts.
        host: whether the rule computes with NumPy, outside compiled graphs: results whose shapes depend on values,
            strings.
        random: whether it draws numbers, and is part of a graph whose operands are known, too.
    """

    domain: str
    name: str
    since: int
    function: Callable[..., Any]
    static: frozenset[str] = frozenset()
    host: bool = False
    random: bool = False

    @cached_property
    def wants_outputs(self) -> bool:
        """Whether `function` has the parameter `outputs`: the number of outputs that are asked for."""
        return "outputs" in self.signature.parameters

    @cached_property
    def signature(self) -> inspect.Signature:
        """That of `function`."""
        return inspect.signature(self.function)

    @cached_property
    def _operands(self) -> tuple[tuple[bool, bool], ...]:
        """For each parameter that takes operands, whether it takes all further ones, and whether they are static."""
        found = self.signature.parameters.values()
        kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL
        return tuple((p.kind is kinds[1], p.name in self.static) for p in found if p.kind in kinds)

    def positions(self, count: int) -> tuple[bool, ...]:
        """For each of `count` operands, whether it must be static."""
        flags: list[bool] = []
        for rest, static in self._operands:
            flags += [static] * (count - len(flags) if rest else 1)
        return tuple(flags[:count])


RULES: dict[tuple[str, str], list[Rule]] = {}  # by domain and name, the newest first


def converts(
    name: str,
    since: int = 1,
    *,
    domain: str = "",
    static: Sequence[str] = (),
    host: bool = False,
    random: bool = False,
) -> Callable[[Function], Function]:
    """Enters the decorated function as the rule of operator `name` from version `since` on."""

    def enter(function: Function) -> Function:
        # a signature takes 20 us, and there are hundreds of rules of which a model needs few
        unknown = set(static) - inspect.signature(function).parameters.keys() if static else ()
        if unknown:
            raise TypeError(f"the rule of {name} has no parameter {', '.join(sorted(unknown))}")
        rules = RULES.setdefault((domain, name), [])
        if any(rule.since == since for rule in rules):
            raise TypeError(f"{name} has two rules since version {since}")
        rules.append(Rule(domain, name, since, function, frozenset(static), host, random))
        rules.sort(key=lambda rule: -rule.since)
        return function

    return enter


def rule_of(domain: str, name: str, version: int) -> Rule:
    """The rule of an operator as it is in version `version` of its operator set.

    Raises:
        UnsupportedOperatorError: there is none.
    """
    rules = RULES.get(("" if domain == "ai.onnx" else domain, name), [])
    for rule in rules:
        if rule.since <= version:
            return rule
    called = f"{domain}.{name}" if domain else name
    if rules:
        raise UnsupportedOperatorError(
            f"{called} is supported since version {rules[-1].since} of its operator set, not {version}"
        )
    raise UnsupportedOperatorError(f"operator {called} is not supported")
