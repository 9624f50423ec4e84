"""Products with Jacobians: `vjp`, `jvp` and `linearize`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tgc.autodiff import backward, mark
from tgc.errors import TraceError
from tgc.forward import forward
from tgc.ir import recorder
from tgc.ops.creation import full_like
from tgc.trace import Trace, Tracer, current
from tgc.transforms.calls import compiled, copied, lifted, matching, real_leaves, unflatten, with_aux


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A function recorded in a trace: its primals, its results, and what lies between."""

    op: str
    record: Trace
    since: int
    primals: Sequence[Tracer]
    arguments: Any
    results: Sequence[Tracer]
    structure: Any
    aux: Any

    @staticmethod
    def of(op: str, f: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> _Recorded:
        record = current()
        leaves, arguments = real_leaves(op, "primal", tuple(primals))
        since = record.builder.count
        marked = [mark(x) for x in leaves]
        out, aux = with_aux(op, f(*unflatten(arguments, marked)), has_aux)
        results, structure = real_leaves(op, "result", out)
        return _Recorded(op, record, since, marked, arguments, [lifted(y) for y in results], structure, aux)

    @property
    def out(self) -> Any:
        return unflatten(self.structure, self.results)

    def check(self, what: str) -> None:
        """The walk goes over the nodes of one trace."""
        if current() is not self.record:
            raise TraceError(
                f"{self.op}: the {what} function was called in another trace than {self.op} itself; call both inside "
                "of the same region, or return the product instead of the function"
            )

    def pullback(self, cotangent: Any) -> Any:
        self.check("pullback")
        types = [y.value.type for y in self.results]
        given = matching(self.op, "cotangent", cotangent, self.structure, types, "result")
        found = backward(self.results, [lifted(g) for g in given], self.primals, self.since)
        return unflatten(self.arguments, found)

    def pushforward(self, *tangents: Any) -> Any:
        self.check("linearized")
        types = [x.value.type for x in self.primals]
        given = matching(self.op, "tangent", tangents, self.arguments, types, "primal")
        found = forward(self.results, self.primals, [lifted(t) for t in given], self.since)
        made = [full_like(y, 0) if t is None else t for y, t in zip(self.results, found, strict=True)]
        return unflatten(self.structure, made)


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`f(*primals)`, and the function that takes cotangents of that back to cotangents of the primals.

    Outside of any trace the pullback is a compiled function that computes `f` again.

    Args:
        f: returns a pytree of floating-point tensors, or with `has_aux` a pair of one and anything else.
        primals: pytrees of floating-point arrays.

    Returns:
        (result, pullback), or (result, pullback, aux). The pullback takes a cotangent of the structure, shapes and
        dtypes of the result and returns a tuple, one cotangent a primal; it may be called several times.
    Raises:
        GradientError: a primal or a result is no float, or an op has no gradient.
        TraceError, ShapeError, DTypeError: (of the pullback) the cotangent is not like the result.
    """
    if recorder() is not None:
        recorded = _Recorded.of("vjp", f, primals, has_aux)
        return (recorded.out, recorded.pullback, recorded.aux)[: 2 + has_aux]

    def pull(primals: Any, cotangent: Any) -> Any:
        return _Recorded.of("vjp", f, primals, has_aux).pullback(cotangent)

    out, aux = _evaluated("vjp", f, primals, has_aux)
    return (out, functools.partial(compiled(pull, f), copied(primals)), aux)[: 2 + has_aux]


def _evaluated(op: str, f: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> tuple[Any, Any]:
    """The results of `f`, compiled, after the checks that differentiation will make."""

    def whole(*primals: Any) -> Any:
        recorded = _Recorded.of(op, f, primals, has_aux)
        return recorded.out, recorded.aux

    made: tuple[Any, Any] = compiled(whole, f)(*primals)
    return made


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """`f(*primals)` and its derivative along the tangents, in forward mode.

    Args:
        f: returns a pytree of floating-point tensors, or with `has_aux` a pair of one and anything else.
        primals: a tuple or list of pytrees of floating-point arrays, the arguments of `f`.
        tangents: one of the same structure, shapes and dtypes for each.

    Returns:
        (result, tangent of the result), or (result, tangent, aux).
    Raises:
        GradientError: a primal or a result is no float, or an op has no gradient.
        TraceError, ShapeError, DTypeError: the tangents are not like the primals.
    """
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise TraceError(f"jvp: {what} must be a tuple or list of arguments, not a {type(given).__name__}")

    def traced(primals: Any, tangents: Any) -> Any:
        recorded = _Recorded.of("jvp", f, primals, has_aux)
        return (recorded.out, recorded.pushforward(*tangents), recorded.aux)[: 2 + has_aux]

    return compiled(traced, f)(tuple(primals), tuple(tangents))


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """`f(*primals)`, and the function that takes tangents of the primals to those of the result: see `jvp`.

    Outside of any trace that function is compiled and computes `f` again.

    Returns:
        (result, linear function), or (result, linear function, aux).
    """
    if recorder() is not None:
        recorded = _Recorded.of("linearize", f, primals, has_aux)
        return (recorded.out, recorded.pushforward, recorded.aux)[: 2 + has_aux]

    def push(primals: Any, *tangents: Any) -> Any:
        return _Recorded.of("linearize", f, primals, has_aux).pushforward(*tangents)

    out, aux = _evaluated("linearize", f, primals, has_aux)
    return (out, functools.partial(compiled(push, f), copied(primals)), aux)[: 2 + has_aux]
