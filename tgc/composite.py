"""Composites: functions whose traces stay together as regions that name their backward pass.

A composite node has up to three graphs. `body` is the meaning of the node. If it has a rule, `forward` computes the
results again and residuals behind them, and `backward` turns residuals and the cotangents of the results into those of
the arguments; else differentiation goes through the body. A pass may claim a composite by its name; the pass `inline`
replaces all others by their bodies, and what `forward` has in common with the body is computed once.

Operands are arguments, then tensors of enclosing traces that the functions close over; all graphs take these last.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from tgc.batching import batch_graph, batch_region
from tgc.errors import DTypeError, GradientError, ShapeError, TraceError
from tgc.forward import transposed
from tgc.ir import Attr, Builder, Graph, rebuild, recorder
from tgc.ops.arithmetic import as_tensor, dtype_of, is_weak, shape_of
from tgc.ops.batch import in_front, size_of
from tgc.ops.creation import fill, full_like
from tgc.ops.kinds import Region, region, text
from tgc.ops.reduce import reduce_sum
from tgc.ops.region import interpreted
from tgc.ops.samples import samples
from tgc.regions import Arguments, Outputs, inlined, jvp_of, listed, region_of, vjp_of
from tgc.trace import Tracer, trace_region
from tgc.types import TensorType, is_inexact


def _optional(x: Any) -> Graph | None:
    """Attribute check: a graph, or None."""
    return None if x is None else region(x)


@dataclass(frozen=True, eq=False, repr=False)
class Composite(Region):
    """A region with a backward pass of its own: see the module."""

    def infer(self, operands: Sequence[TensorType], attrs: Any) -> tuple[TensorType, ...]:
        results = super().infer(operands, attrs)
        forward, backward = attrs["forward"], attrs["backward"]
        if (forward is None) != (backward is None):
            raise self.refuse("it has a forward or a backward graph, but not both", operands)
        if forward is not None and backward is not None:
            made = [v.type for v in forward.outputs]
            captured = list(operands[len(backward.outputs) :])
            if [v.type for v in forward.inputs] != list(operands) or made[: len(results)] != list(results):
                raise self.refuse(f"the forward graph @{forward.name} is not like the body", operands)
            if [v.type for v in backward.inputs] != [*made[len(results) :], *results, *captured]:
                raise self.refuse(f"the backward graph @{backward.name} takes residuals and cotangents", operands)
            if [v.type for v in backward.outputs] != list(operands[: len(backward.outputs)]):
                raise self.refuse(f"the backward graph @{backward.name} returns cotangents of arguments", operands)
        return results


def _grad(
    g: Any, *operands: Tracer, out: Any, name: str, body: Graph, forward: Graph | None, backward: Graph | None
) -> tuple[Any, ...]:
    if forward is None or backward is None:
        return vjp_of(body, listed(g), operands)
    results = listed(out)
    given = [full_like(y, 0) if c is None else c for y, c in zip(results, listed(g), strict=True)]
    captured = operands[len(backward.outputs) :]
    residuals = inlined(forward, operands)[len(results) :]
    closed = GradientError(
        f"{name} has a backward pass of its own, which says nothing of a tensor that {name} closes over; make it an "
        "argument, or put stop_gradient around it"
    )
    return (*inlined(backward, [*residuals, *given, *captured]), *([closed] * len(captured)))


def _jvp(tangents: Sequence[Any], *operands: Tracer, out: Any, **attrs: Any) -> tuple[Any, ...]:
    """Through the body, or as the transpose of the backward pass, which must then be linear in the cotangents."""
    if attrs["backward"] is None:
        return jvp_of(attrs["body"], tangents, operands)
    return transposed(composed, tangents, *operands, out=out, **attrs)


def _batch(
    operands: Sequence[Tracer],
    batched: Sequence[bool],
    *,
    name: str,
    body: Graph,
    forward: Graph | None,
    backward: Graph | None,
) -> Any:
    size = size_of(operands, batched)
    wide: dict[str, Attr] = {"name": name, "body": batch_region(body, operands, batched)}
    wide |= {"forward": forward, "backward": backward}
    if forward is not None and backward is not None:
        wide["forward"] = again = batch_region(forward, operands, batched)
        n, arguments = len(body.outputs), len(backward.outputs)
        residuals = [v.type for v in again.outputs[n:]]
        captured = operands[arguments:]
        flags = [True] * len(again.outputs) + list(batched[arguments:])

        def pullback(*xs: Tracer) -> list[Any]:
            found = batch_graph(backward, xs, flags, size)
            whole = [in_front(g.tensor, g.batched, size) for g in found]
            return [
                g if own else reduce_sum(g, axes=(0,), chunks=0)
                for g, own in zip(whole, batched[:arguments], strict=True)
            ]

        types = [*residuals, *(v.type for v in again.outputs[:n]), *(x.value.type for x in captured)]
        wide["backward"], _ = trace_region(pullback, types, name=backward.name)
    return composed(*operands, **wide)


composed = Composite(
    "composite",
    attrs={"name": text, "body": region, "forward": _optional, "backward": _optional},
    transparent=True,
    reference=interpreted,
    grad=_grad,
    jvp=_jvp,
    batch=_batch,
    samples=samples(),
)


# ------------------------------------------------------------------------------------------------------------ functions


class composite:  # noqa: N801
    """A function whose trace stays together as a region, under its name, until a pass claims or inlines it.

    Outside of any trace it is the function itself. Tensors among the arguments (pytrees) become operands; everything
    else is part of the function.
    """

    def __init__(self, f: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        functools.update_wrapper(self, f)
        self.f = f
        self.name: str = getattr(f, "__name__", "composite").strip("<>")
        self.nondiff = tuple(nondiff_argnums)
        self.rule: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the function a backward pass.

        Args:
            fwd: takes the arguments of the function; returns a pair of its result and residuals (a pytree of tensors).
            bwd: takes the arguments that `nondiff_argnums` names, the residuals, and the cotangent of the result;
                returns a tuple, one cotangent for each other argument, of its structure, shapes and dtypes, or None
                for zero. Integer tensors have None or anything for their cotangents.
        """
        self.rule = fwd, bwd

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorder() is None:
            return self.f(*args, **kwargs)
        args, kwargs = self._positional(args, kwargs)
        varied = tuple(a for i, a in enumerate(args) if i not in self.nondiff)
        arguments = Arguments.of(varied)
        body, held, out = region_of(lambda xs: self.f(*self._all(args, xs), **kwargs), arguments, self.name)
        if self.rule is None:
            made = composed(*arguments.operands, *held, name=self.name, body=body, forward=None, backward=None)
            return out.give(listed(made))
        graphs = {"body": (body, held), **self._rule(args, arguments, body, out)}
        captured = {x.value: x for _, own in graphs.values() for x in own}
        closed = {key: _closed(graph, own, list(captured)) for key, (graph, own) in graphs.items()}
        return out.give(listed(composed(*arguments.operands, *captured.values(), name=self.name, **closed)))

    # ----------------------------------------------------------------------------------------------------- internals

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Keyword arguments in their places, as far as they have any."""
        try:
            bound = inspect.signature(self.f).bind(*args, **kwargs)
        except ValueError:  # it has no signature
            return args, kwargs
        bound.apply_defaults()
        if self.rule is not None and bound.kwargs:
            raise TraceError(f"{self.name}: keyword-only arguments {sorted(bound.kwargs)} and a backward pass")
        for n in self.nondiff:
            if not 0 <= n < len(bound.args):
                raise TraceError(f"{self.name}: nondiff_argnums {n}: it was called with {len(bound.args)} arguments")
        return bound.args, bound.kwargs

    def _all(self, args: Sequence[Any], varied: Sequence[Any]) -> list[Any]:
        rest = iter(varied)
        return [a if i in self.nondiff else next(rest) for i, a in enumerate(args)]

    def _rule(
        self, args: Sequence[Any], arguments: Arguments, body: Graph, out: Outputs
    ) -> dict[str, tuple[Graph, tuple[Tracer, ...]]]:
        """The graphs of the forward and backward functions, and what they close over."""
        assert self.rule is not None
        fwd, bwd = self.rule
        results, residuals = Outputs(), Outputs()

        def run(xs: Any) -> list[Any]:
            pair = fwd(*self._all(args, xs))
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TraceError(f"{self.name}: fwd must return a pair (result, residuals), not {pair!r:.80}")
            return [*results.take(pair[0]), *residuals.take(pair[1])]

        forward, held, _ = region_of(run, arguments, f"{self.name}_fwd")
        n = len(body.outputs)
        if results.structure != out.structure:
            raise TraceError(f"{self.name} returns {out.structure}, but fwd {results.structure}")
        for k, (a, b) in enumerate(zip(body.outputs, forward.outputs, strict=False)):
            if a.type != b.type:
                raise TraceError(f"{self.name} returns {a.type} for leaf {k} of its result, but fwd {b.type}")

        def pull(*xs: Tracer) -> list[Any]:
            kept, cotangent = (
                residuals.give(xs[:-n] if n else xs),
                optree.tree_unflatten(out.structure, xs[-n:] if n else ()),
            )
            return self._cotangents(bwd(*(args[i] for i in self.nondiff), kept, cotangent), arguments)

        types = [v.type for v in (*forward.outputs[n:], *body.outputs)]
        backward, also = trace_region(pull, types, name=f"{self.name}_bwd")
        return {"forward": (forward, held), "backward": (backward, also)}

    def _cotangents(self, found: Any, arguments: Arguments) -> list[Any]:
        """The cotangents of the operands among what bwd returned.

        Raises:
            GradientError: it has another structure than the arguments.
            ShapeError, DTypeError: a cotangent is not like its argument.
        """
        parts = optree.treespec_children(arguments.structure)
        if not isinstance(found, tuple | list) or len(found) != len(parts):
            count = f"{len(found)} of them" if isinstance(found, tuple | list) else f"a {type(found).__name__}"
            raise GradientError(f"{self.name}: bwd must return a tuple of {len(parts)} cotangents, not {count}")
        leaves: list[Any] = []
        for k, (g, part) in enumerate(zip(found, parts, strict=True)):
            if g is None:
                leaves += [None] * part.num_leaves
                continue
            given, structure = optree.tree_flatten(g, none_is_leaf=True)
            if structure.num_leaves != part.num_leaves:
                raise GradientError(f"{self.name}: bwd returns {structure} for argument {k}, which is {part}")
            leaves += given
        wanted = [(x, g) for x, g in zip(arguments.leaves, leaves, strict=True) if isinstance(x, Tracer)]
        return [self._cotangent(x.value.type, g) for x, g in wanted]

    def _cotangent(self, t: TensorType, g: Any) -> Any:
        if g is None or not is_inexact(t.dtype):
            return fill(t.shape, t.dtype, 0)
        if shape_of(g) != t.shape:
            raise ShapeError(f"{self.name}: bwd returns a cotangent of shape {shape_of(g)} for an argument {t}")
        if not is_weak(g) and dtype_of(g) != t.dtype:
            raise DTypeError(
                f"{self.name}: bwd returns a cotangent of dtype {dtype_of(g)} for an argument {t}; cast it"
            )
        return as_tensor(g, t.dtype)


class custom_vjp(composite):  # noqa: N801
    """A function with a backward pass that `defvjp` gives it, instead of that of its ops.

        @tgc.custom_vjp
        def f(x): ...
        f.defvjp(fwd, bwd)

    Args:
        f: a function of pytrees of tensors. Differentiating by a tensor that it closes over is an error.
        nondiff_argnums: positions of arguments that are no tensors, or by which it is not differentiated; they are
            the first arguments of `bwd`.

    In forward mode the derivative is the transpose of `bwd`, which is to be linear in the cotangent.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.rule is None:
            raise TraceError(f"{self.name} is a custom_vjp without a backward pass: call {self.name}.defvjp(fwd, bwd)")
        return super().__call__(*args, **kwargs)


def _closed(graph: Graph, own: Sequence[Tracer], captured: Sequence[Any]) -> Graph:
    """`graph` with inputs for all captured tensors instead of for its own."""
    builder = Builder(graph.name)
    declared = len(graph.inputs) - len(own)
    inputs = [builder.input(v.type, v.name) for v in graph.inputs[:declared]]
    shared = {v: builder.input(v.type, v.name) for v in captured}
    return builder.build(rebuild(graph, builder, [*inputs, *(shared[x.value] for x in own)]))


__all__ = ["composed", "composite", "custom_vjp"]
