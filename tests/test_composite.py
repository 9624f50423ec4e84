"""custom_vjp and composites: their own backward passes, in every transform; errors of their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import close, graph_of

import tgc
from tgc import custom_vjp, grad, hessian, jit, jvp, stop_gradient, vjp, vmap
from tgc import numpy as tnp
from tgc.composite import composite
from tgc.errors import DTypeError, GradientError, ShapeError, TgcError, TraceError, VerifyError
from tgc.interpret import interpret
from tgc.ir import Node
from tgc.text import parse, print_graph
from tgc.verify import verify

RNG = np.random.default_rng(0)
X, Y, V = (RNG.standard_normal((4, 3)) for _ in range(3))


def run(f: Any, *arrays: Any) -> Any:
    found = interpret(graph_of(f, *arrays), *arrays)
    return found[0] if len(found) == 1 else found


def ruled(fwd: Any = None, bwd: Any = None) -> Any:
    """sin(x) * y, whose gradient by x is twice the true one."""

    @custom_vjp
    def twice(x: Any, y: Any) -> Any:
        return tnp.sin(x) * y

    twice.defvjp(
        fwd or (lambda x, y: (tnp.sin(x) * y, {"x": x, "y": y})),
        bwd or (lambda r, g: (2 * g * tnp.cos(r["x"]) * r["y"], g * tnp.sin(r["x"]))),
    )
    return twice


def plain(x: Any, y: Any) -> Any:
    """The same in ops: the value is sin(x) * y, what is differentiated has twice the slope."""
    both = tnp.sin(x) * stop_gradient(y) * 2 + stop_gradient(tnp.sin(x)) * y
    return both - stop_gradient(both - tnp.sin(x) * y)


def total(f: Any) -> Any:
    return lambda x, y: tnp.sum(f(x, y))


def test_every_transform_takes_the_backward_pass() -> None:
    def whole(f: Any) -> Any:
        return lambda x, y, v: [
            f(x, y),
            *grad(total(f), (0, 1))(x, y),
            *vmap(grad(total(f), (0, 1)))(x, y),
            *vmap(grad(total(f), (0, 1)), (0, None))(x, y[0]),
            jvp(f, (x, y), (v, v))[1],
            vmap(lambda x, v: jvp(f, (x, y[0]), (v, v))[1])(x, v),
            vmap(f, (None, 0))(x[0], y),
        ]

    for got, want in zip(run(whole(ruled()), X, Y, V), run(whole(plain), X, Y, V), strict=True):
        close(got, want)
    compiled = jit(grad(total(ruled()), (0, 1)))(X, Y)
    close(compiled[0], 2 * np.cos(X) * Y)
    close(compiled[1], np.sin(X))


def test_second_derivatives_go_through_the_rule() -> None:
    """That of the gradient 2 y cos(x) is -2 y sin(x), in both modes."""
    f = ruled()
    for way in (hessian(total(f)), tgc.jacrev(grad(total(f)))):
        close(run(way, X[0], Y[0]), np.diag(-2 * Y[0] * np.sin(X[0])))


def test_outside_of_a_trace_it_is_the_function() -> None:
    found = ruled()(X, Y)
    assert isinstance(found, np.ndarray)
    close(found, np.sin(X) * Y)


def test_without_differentiation_only_the_function_is_computed() -> None:
    f = ruled(fwd=lambda x, y: (tnp.sin(x) * y, {"x": tnp.exp(x), "y": y}))
    names = [n.op.name for n in jit(f).lower(X, Y).compilation.stages["inline"].nodes]
    assert names == ["sin", "mul"]
    names = [n.op.name for n in jit(grad(total(f))).lower(X, Y).compilation.stages["fold"].nodes]
    assert "exp" in names


def test_what_forward_and_function_share_is_computed_once() -> None:
    graph = jit(tgc.value_and_grad(total(ruled()), (0, 1))).lower(X, Y).compilation.stages["simplify"]
    assert [n.op.name for n in graph.nodes].count("sin") == 1


def test_nondiff_arguments() -> None:
    def power(x: Any, n: int, f: Any) -> Any:
        return f(x) ** n

    rule = custom_vjp(power, nondiff_argnums=(1, 2))
    rule.defvjp(lambda x, n, f: (f(x) ** n, x), lambda n, f, x, g: (g * n * f(x),))
    found = run(grad(lambda x: tnp.sum(rule(x, f=tnp.exp, n=2))), X)
    close(found, 2 * np.exp(X))


def test_integers_and_none() -> None:
    rule = custom_vjp(lambda x, i, z: x * 2)
    rule.defvjp(lambda x, i, z: (x * 2, i), lambda i, g: (3 * g, None, None))
    gx, gz = run(lambda x, i: vjp(lambda x, z: rule(x, i, {"z": z}), x, x)[1](x), X, np.int32([1]))
    close(gx, 3 * X)
    assert not gz.any()


def test_tensors_that_it_closes_over() -> None:
    def f(x: Any, y: Any) -> Any:
        rule = custom_vjp(lambda x: x * y)
        rule.defvjp(lambda x: (x * y, ()), lambda r, g: (g * y * 5,))
        return tnp.sum(rule(x))

    close(run(grad(f), X, Y), 5 * Y)
    close(run(vmap(grad(f)), X, Y), 5 * Y)
    for way in (grad(f, 1), lambda x, y: jvp(lambda y: f(x, y), (y,), (y,))[1]):
        with pytest.raises(GradientError, match=r"says nothing of a tensor that .* closes over; make it an argument"):
            graph_of(way, X, Y)


def test_methods() -> None:
    class Layer:
        scale = 3.0

        @composite
        def __call__(self, x: Any) -> Any:
            return x * self.scale

    close(run(lambda x: Layer()(x), X), 3 * X)


# ---------------------------------------------------------------------------------------------------- composites


@composite
def softplus(x: Any, *, beta: float = 1.0) -> Any:
    """A composite without a rule is differentiated through its body."""
    return tnp.log1p(tnp.exp(x * beta)) / beta


def test_a_composite_without_a_rule() -> None:
    def each(f: Any) -> Any:
        return lambda x, v: [f(x), grad(lambda x: tnp.sum(f(x)))(x), jvp(f, (x,), (v,))[1], vmap(f)(x)]

    for got, want in zip(run(each(softplus), X, V), run(each(softplus.f), X, V), strict=True):
        close(got, want)
    graph = graph_of(lambda x: softplus(x, beta=2.0), X)
    assert [(n.op.name, n.attrs["name"]) for n in graph.nodes] == [("composite", "softplus")]


def test_stop_gradient_inside() -> None:
    f = composite(lambda x: x * stop_gradient(x))
    close(run(grad(lambda x: tnp.sum(f(x))), X), X)


def test_text() -> None:
    graph = graph_of(lambda x, y: [ruled()(x, y), softplus(x)], X, Y)
    verify(graph)
    assert parse(print_graph(graph)) == graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backward": None}, "but not both"),
        ({"forward": "body"}, "takes residuals and cotangents"),
        ({"forward": "backward"}, "is not like the body"),
        ({"backward": "body"}, "the backward graph"),
    ],
)
def test_graphs_must_fit(change: dict[str, Any], message: str) -> None:
    graph = graph_of(ruled(), X, Y)
    (node,) = graph.nodes
    attrs = {**node.attrs, **{k: node.attrs.get(str(v)) for k, v in change.items()}}
    wrong = Node.make(node.op, node.operands, attrs, [r.type for r in node.results])
    with pytest.raises(VerifyError, match=message):
        verify(type(graph)("f", graph.inputs, graph.constants, (wrong,), wrong.results))


def gradient(**rule: Any) -> Callable[[Any, Any], Any]:
    return lambda x, y: grad(total(ruled(**rule)))(x, y)


ERRORS: dict[str, tuple[Callable[[Any, Any], Any], type[TgcError], str]] = {
    "too few": (gradient(bwd=lambda r, g: (g,)), GradientError, "a tuple of 2 cotangents, not 1 of them"),
    "no tuple": (gradient(bwd=lambda r, g: g), GradientError, "a tuple of 2 cotangents, not a Tracer"),
    "structure": (gradient(bwd=lambda r, g: ((g, g), g)), GradientError, "for argument 0, which is"),
    "shape": (gradient(bwd=lambda r, g: (g[0], g)), ShapeError, r"shape \(3,\) for an argument f64\[4,3\]"),
    "dtype": (gradient(bwd=lambda r, g: (g, g.astype("f32"))), DTypeError, "cotangent of dtype float32 .*cast it"),
    "fwd no pair": (gradient(fwd=lambda x, y: x), TraceError, r"fwd must return a pair \(result, residuals\)"),
    "fwd structure": (gradient(fwd=lambda x, y: ((x, y), ())), TraceError, "twice returns .* but fwd"),
    "fwd type": (gradient(fwd=lambda x, y: (x[0], ())), TraceError, r"returns f64\[4,3\] for leaf 0.*fwd f64\[3\]"),
    "no rule": (lambda x, y: custom_vjp(lambda x: x)(x), TraceError, "without a backward pass"),
    "nondiff": (
        lambda x, y: composite(lambda x: x, nondiff_argnums=(1,))(x),
        TraceError,
        "nondiff_argnums 1: it was called with 1 arguments",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    f, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        graph_of(f, X, Y)
