"""vjp, jvp, linearize, vmap, Jacobians and eval_shape: values, compositions, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from traced import close, graph_of

import tgc
from tgc import eval_shape, grad, hessian, jacfwd, jacrev, jit, jvp, linearize, vjp, vmap
from tgc import numpy as tnp
from tgc.errors import DTypeError, GradientError, LeakedTracerError, ShapeError, TgcError, TraceError
from tgc.interpret import interpret
from tgc.trace import trace_region

RNG = np.random.default_rng(0)
X, Y, W = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3)), RNG.standard_normal((3, 2))


def run(f: Callable[..., Any], *args: Any) -> Any:
    """`f` traced and interpreted, for pytrees of arrays."""
    leaves, structure = optree.tree_flatten(args)
    result: list[Any] = []

    def flat(*tensors: Any) -> list[Any]:
        out, spec = optree.tree_flatten(f(*optree.tree_unflatten(structure, tensors)))
        result.append(spec)
        return out

    made = interpret(graph_of(flat, *leaves), *leaves)
    return optree.tree_unflatten(result[0], list(made))


def model(x: Any, w: Any) -> Any:
    return tnp.sum(tnp.tanh(x @ w) ** 2)


def stack(f: Callable[..., Any], *args: Any) -> Any:
    """The results of `f` for each element of arrays, stacked."""
    made = [f(*(a[i] for a in args)) for i in range(len(args[0]))]
    return optree.tree_map(lambda *xs: np.stack(xs), *made)


# ---------------------------------------------------------------------------------------------------- vjp and jvp


def test_products_of_pytrees() -> None:
    def f(p: Any, y: Any) -> Any:
        return {"a": p["x"] * y, "b": (tnp.sum(tnp.sin(p["x"])),)}

    def both(x: Any, y: Any, u: Any) -> Any:
        out, pull = vjp(f, {"x": x}, y)
        again, push = linearize(f, {"x": x}, y)
        return out, pull({"a": u, "b": (2.0,)}), again, push({"x": u}, 2 * u), jvp(f, ({"x": x}, y), ({"x": u}, 2 * u))

    u = RNG.standard_normal((4, 3))
    out, (gx, gy), again, tangent, both_of_jvp = run(both, X, Y, u)
    close(out["a"], X * Y)
    close(gx["x"], u * Y + 2 * np.cos(X))
    close(gy, u * X)
    for value, along in ((again, tangent), both_of_jvp):
        close(value["b"][0], np.sin(X).sum())
        close(along["a"], u * Y + 2 * u * X)
        close(along["b"][0], (u * np.cos(X)).sum())


def test_pullbacks_may_be_called_again() -> None:
    def twice(x: Any) -> Any:
        out, pull = vjp(tnp.sin, x)
        return out, pull(x)[0], pull(2 * x)[0]

    _, once, again = run(twice, X)
    close(once, X * np.cos(X))
    close(again, 2 * X * np.cos(X))


def test_outside_of_a_trace() -> None:
    """Compiled; the pullback keeps the primals of the call even if their owner writes to them."""
    x = X.copy()
    out, pull, aux = vjp(lambda x: (tnp.sin(x), {"n": x + 1}), x, has_aux=True)
    again, push = linearize(tnp.sin, x)
    x[...] = 0
    close(out, np.sin(X))
    close(aux["n"], X + 1)
    close(pull(Y)[0], Y * np.cos(X))
    close(push(Y), Y * np.cos(X))
    assert isinstance(again, np.ndarray)
    value, along, n = jvp(lambda x, y: (x * y, 3), (X, Y), [Y, X], has_aux=True)
    close(value, X * Y)
    close(along, Y * Y + X * X)
    assert n == 3
    close(vmap(model, (0, None))(X, W), stack(lambda x: model(x, W), X))
    close(jacrev(tnp.sin)(X[0]), np.diag(np.cos(X[0])))


def test_results_that_depend_on_nothing() -> None:
    out, pull = vjp(lambda x: (x, np.ones(2)), X)
    close(pull((Y, np.ones(2)))[0], Y)
    close(jvp(lambda x: (x, np.ones(2)), (X,), (Y,))[1][1], np.zeros(2))
    assert out[1].tolist() == [1, 1]


def test_numbers_stay_weak() -> None:
    """A Python number among primals or mapped arguments does not widen what it meets."""
    x = np.float32([1, 2])
    assert jvp(lambda x, s: x * s, (x, 2.0), (x, 1.0))[1].dtype == np.float32
    assert vmap(lambda x, s: x * s, (0, None))(x, 2.0).dtype == np.float32
    assert eval_shape(vmap(lambda x, s: x * s, (0, None)), x, 2.0) == tgc.tensor_type("f32", (2,))


def test_second_derivatives() -> None:
    def along(f: Any, x: Any, v: Any) -> Any:
        return jvp(f, (x,), (v,))[1]

    def f(x: Any) -> Any:
        return tnp.sum(tnp.sin(x) * x[::-1])

    def whole(x: Any, v: Any) -> Any:
        forward_over_reverse = along(grad(f), x, v)
        reverse_over_forward = grad(lambda x: along(f, x, v))(x)
        reverse_over_reverse = grad(lambda x: tnp.sum(grad(f)(x) * v))(x)
        return forward_over_reverse, reverse_over_forward, reverse_over_reverse, hessian(f)(x) @ v

    found = run(whole, X[0], Y[0])
    for other in found[1:]:
        close(found[0], other)
    twice = run(lambda x, v: along(lambda x: along(tnp.exp, x, v), x, v), X[0], Y[0])
    close(twice, np.exp(X[0]) * Y[0] ** 2)


# ------------------------------------------------------------------------------------------------------ Jacobians


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd, tgc.jacobian])
def test_jacobians(jacobian: Any) -> None:
    def f(x: Any, p: Any) -> Any:
        return {"y": x @ p["w"], "s": tnp.sum(x * x)}, x + 1

    def by_both(x: Any, w: Any) -> Any:
        one = jacobian(f, has_aux=True)(x, {"w": w})
        return one, jacobian(lambda *a: f(*a)[0], argnums=(0, 1))(x, {"w": w})

    (first, aux), both = run(by_both, X[0], W)
    close(aux, X[0] + 1)
    close(first["y"], W.T)
    close(first["s"], 2 * X[0])
    assert both["y"][1]["w"].shape == (2, 3, 2)
    close(both["y"][1]["w"], np.einsum("i,jk->jik", X[0], np.eye(2)))
    close(both["s"][0], 2 * X[0])
    assert not both["s"][1]["w"].any()


def test_hessian() -> None:
    a = RNG.standard_normal((3, 3))
    whole = run(lambda x: hessian(lambda x: x @ tnp.asarray(a) @ x + tnp.sum(x**3))(x), X[0])
    close(whole, a + a.T + np.diag(6 * X[0]))
    tree = run(lambda x, y: hessian(lambda p: tnp.sum(p["x"] * p["x"] * p["y"]))({"x": x, "y": y}), X[0], Y[0])
    close(tree["x"]["x"], np.diag(2 * Y[0]))
    close(tree["x"]["y"], np.diag(2 * X[0]))
    close(tree["y"]["x"], np.diag(2 * X[0]))
    assert not tree["y"]["y"].any()


# ----------------------------------------------------------------------------------------------------------- vmap


def test_in_axes_are_prefixes() -> None:
    def f(p: Any, y: Any, *, z: Any) -> Any:
        return p["x"] * y[0] + y[1] + z

    x, y, z = RNG.standard_normal((3, 5, 2)), RNG.standard_normal((3, 2)), RNG.standard_normal((5, 1))
    for in_axes in (({"x": 1}, None), [{"x": -2}, (None, None)], (1, (None, None))):
        found = run(lambda *a, in_axes=in_axes: vmap(f, in_axes)({"x": a[0]}, (a[1], 1.0), z=a[2]), x, y, z)
        close(found, np.stack([x[:, i] * y + 1 + z[i] for i in range(5)]))
    assert run(vmap(lambda x, n: x if n is None else 0 * x), X, None).shape == (4, 3)


def test_out_axes() -> None:
    def f(x: Any, w: Any) -> Any:
        return {"p": x * 2, "q": (w + 1, x)}

    found = run(vmap(f, (0, None), {"p": 1, "q": (None, -1)}), X, W)
    close(found["p"], (2 * X).T)
    close(found["q"][0], W + 1)
    close(found["q"][1], X.T)
    close(run(vmap(lambda x: np.ones(2), out_axes=1), X), np.ones((2, 4)))
    assert run(vmap(lambda: np.ones(2), axis_size=3)).shape == (3, 2)


def test_vmap_nests() -> None:
    """Over different axes, with what is common to all elements computed once."""
    outer = vmap(vmap(lambda x, y: x * y + tnp.sum(tnp.exp(y)), (None, 0)), (0, None))
    close(run(outer, X, Y), X[:, None] * Y + np.exp(Y).sum(1)[:, None])
    shapes = [n.result.shape for n in graph_of(outer, X, Y).nodes if n.op.name == "exp"]
    assert shapes == [(4, 3)]
    close(
        run(vmap(vmap(model, (0, None)), (0, None)), np.stack([X, Y]), W),
        [stack(lambda x: model(x, W), a) for a in (X, Y)],
    )


def test_vmap_and_derivatives_commute() -> None:
    def whole(x: Any, v: Any, w: Any) -> Any:
        def each(x: Any) -> Any:
            return vmap(model, (0, None))(x, w)

        return (
            vmap(grad(model, (0, 1)), (0, None))(x, w),
            vjp(lambda x: each(x), x)[1](tnp.ones(4)),
            jvp(each, (x,), (v,))[1],
            vmap(lambda x, v: jvp(lambda x: model(x, w), (x,), (v,))[1])(x, v),
            vmap(hessian(model), (0, None))(x, w),
            jacfwd(lambda w: vmap(model, (0, None))(x, w))(w),
        )

    (gx, gw), (pulled,), pushed, each, curved, jacobian = run(whole, X, Y, W)
    close(gx, pulled)
    close(pushed, each)
    close(gw, jacobian)
    one = run(hessian(model), X[1], W)
    close(curved[1], one)


def test_vmap_of_the_pullback() -> None:
    close(run(lambda x: vmap(vjp(tnp.sin, x)[1])(tnp.eye(3))[0], X[0]), np.diag(np.cos(X[0])))


DRAWS: dict[str, Callable[[Any], Any]] = {
    "bits": lambda k: tgc.random.bits(k, (2, 3)),
    "split": lambda k: tgc.random.split(k, 3),
    "fold_in": lambda k: tgc.random.fold_in(k, 7),
    "uniform": lambda k: tgc.random.uniform(k, (5,), np.float64),
    "normal": lambda k: tgc.random.normal(k, (2, 3)),
    "truncated_normal": lambda k: tgc.random.truncated_normal(k, (4,)),
    "bernoulli": lambda k: tgc.random.bernoulli(k, 0.3, (7,)),
    "randint": lambda k: tgc.random.randint(k, (6,), 0, 10),
    "categorical": lambda k: tgc.random.categorical(k, np.float32([0.1, 2, 1])),
    "permutation": lambda k: tgc.random.permutation(k, 6),
}


def test_random_numbers_of_many_keys() -> None:
    """Draws with split keys, mapped, are the draws of each key, bit for bit; also over two axes."""
    keys = tgc.random.split(tgc.random.key(3), 6)
    mapped = run(lambda keys: {name: vmap(draw)(keys) for name, draw in DRAWS.items()}, keys)
    nested = run(lambda keys: {n: vmap(vmap(d))(keys) for n, d in DRAWS.items()}, keys.reshape(2, 3, 2))
    for name, draw in DRAWS.items():
        want = np.stack([run(draw, k) for k in keys])
        np.testing.assert_array_equal(mapped[name], want, err_msg=name)
        np.testing.assert_array_equal(nested[name].reshape(want.shape), want, err_msg=name)


def test_axes_of_size_zero() -> None:
    x = np.zeros((0, 3))
    made = run(lambda x, w: (vmap(model, (0, None))(x, w), vmap(grad(model, (0, 1)), (0, None))(x, w)), x, W)
    assert [a.shape for a in optree.tree_leaves(made)] == [(0,), (0, 3), (0, 3, 2)]
    assert run(grad(lambda x: tnp.sum(vmap(tnp.sum)(x))), x).shape == (0, 3)
    assert run(jacrev(lambda x: x * 2), np.zeros(0)).shape == (0, 0)


def test_everything_under_jit() -> None:
    """One compiled program of all transforms agrees with the oracle."""

    def whole(x: Any, v: Any, w: Any, key: Any) -> Any:
        return (
            vmap(grad(model, 1), (0, None))(x, w),
            jvp(grad(model), (x[0], w), (v[0], w)),
            vmap(jacrev(lambda x: tnp.tanh(x @ w)))(x),
            hessian(model)(x[0], w),
            vmap(lambda k: tgc.random.normal(k, (3,)))(tgc.random.split(key, 3)),
        )

    args = X, Y, W, tgc.random.key(0)
    found = jit(whole)(*args)
    for got, want in zip(optree.tree_leaves(found), optree.tree_leaves(run(whole, *args)), strict=True):
        close(got, want, 1e-10)


# ----------------------------------------------------------------------------------------------------- eval_shape


def test_eval_shape() -> None:
    out = eval_shape(lambda p, n: {"y": p["x"] @ W, "n": (n + 1, None)}, {"x": X}, n=3)
    assert (out["y"].shape, out["y"].dtype) == ((4, 2), np.float64)
    assert out["n"][1] is None
    assert eval_shape(tnp.sum, tgc.tensor_type("bf16", (2, 3))) == tgc.tensor_type("bf16", ())
    inside: list[Any] = []

    def f(x: Any) -> Any:
        inside.append(eval_shape(lambda y: x[:2] * y, x[0]))
        return x

    assert len(graph_of(f, X).nodes) == 0
    assert inside == [tgc.tensor_type("f64", (2, 3))]


# --------------------------------------------------------------------------------------------------------- errors


def pulled(cotangent: Any, f: Any = lambda x: {"y": x}) -> Any:
    return lambda x: vjp(f, x)[1](cotangent)


ERRORS: dict[str, tuple[Callable[[Any], Any], type[TgcError], str]] = {
    "cotangent of another structure": (pulled(X), TraceError, "vjp: the cotangent has the structure"),
    "cotangent of another shape": (pulled({"y": W}), ShapeError, r"cotangent has shape \(3, 2\).*f64\[4,3\]"),
    "cotangent of another dtype": (pulled({"y": X.astype(np.float32)}), DTypeError, "of dtype f32.*f64"),
    "tangent of another structure": (lambda x: jvp(tnp.sin, (x,), (x, x)), TraceError, "jvp: the tangent has the str"),
    "tangent of another shape": (lambda x: jvp(tnp.sin, (x,), (x[0],)), ShapeError, r"tangent has shape \(3,\)"),
    "tangent of another dtype": (lambda x: jvp(tnp.sin, (x,), (x.astype("f32"),)), DTypeError, "of dtype f32"),
    "primals in no tuple": (lambda x: jvp(tnp.sin, x, (x,)), TraceError, "primals must be a tuple or list"),
    "integer primal": (lambda x: vjp(tnp.sin, np.arange(3)), GradientError, "a primal is .*leave it out"),
    "integer result": (lambda x: vjp(tnp.argmax, x), GradientError, "a result is .*has_aux=True"),
    "no pair": (lambda x: vjp(tnp.sin, x, has_aux=True), TraceError, r"must return a pair \(result, aux\)"),
    "argnums": (lambda x: jacfwd(tnp.sin, 1)(x), GradientError, "argnums 1: the function was called with 1"),
    "integer argument": (lambda x: jacrev(tnp.sin)(np.arange(3)), GradientError, "not of a floating-point dtype"),
    "no such axis": (lambda x: vmap(tnp.sin, 2)(x), ShapeError, r"argument 0 of shape \(4, 3\) has no axis 2"),
    "no such axis of a leaf": (
        lambda x: vmap(lambda p: p, ({"a": 0, "b": 1},))({"a": x, "b": x[0]}),
        ShapeError,
        r"in_axes: argument 0\['b'\] of shape \(3,\) has no axis 1",
    ),
    "no prefix": (lambda x: vmap(lambda p: p, ({"a": 0},))({"b": x}), TraceError, "in_axes .* is no prefix"),
    "too few axes": (lambda x: vmap(lambda x: x, (0, 0))(x), TraceError, "2 entries for 1 arguments"),
    "no axis but a word": (lambda x: vmap(lambda x: x, ("0",))(x), TraceError, "in_axes holds '0'"),
    "a bool is no axis": (lambda x: vmap(lambda x: x, (True,))(x), TraceError, "in_axes holds True"),
    "sizes differ": (
        lambda x: vmap(lambda x, y: x, (0, 1))(x, x),
        ShapeError,
        r"argument 0 of shape \(4, 3\) has 4 along axis 0, argument 1 of shape \(4, 3\) has 3 along axis 1",
    ),
    "axis_size differs": (lambda x: vmap(tnp.sin, axis_size=5)(x), ShapeError, "axis_size is 5"),
    "nothing mapped": (lambda x: vmap(tnp.sin, None)(x), ShapeError, "no argument is mapped"),
    "mapped result without axis": (lambda x: vmap(tnp.sin, out_axes=None)(x), TraceError, "differs from element"),
    "no such axis of the result": (lambda x: vmap(tnp.sin, out_axes=2)(x), ShapeError, "a result of 2 axes has no"),
    "out_axes no prefix": (lambda x: vmap(tnp.sin, out_axes=(0, 0))(x), TraceError, "out_axes .* is no prefix"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    f, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        graph_of(f, X)


def test_axis_of_no_array() -> None:
    with pytest.raises(ShapeError, match=r"argument 1 of shape \(\) has no axis 0"):
        vmap(lambda x, y: x * y)(X, 2.0)


def test_pullbacks_stay_in_their_region() -> None:
    def f(x: Any) -> Any:
        _, pull = vjp(tnp.sin, x)
        trace_region(lambda u: [pull(u)[0]], [x.value.type])
        return x

    with pytest.raises(TraceError, match="in another trace than vjp itself"):
        graph_of(f, X)
    kept: list[Any] = []
    graph_of(lambda x: kept.append(vjp(tnp.sin, x)[1]) or x, X)
    with pytest.raises((TraceError, LeakedTracerError)):
        kept[0](X)


def test_what_a_mapped_function_keeps_cannot_be_used() -> None:
    """It would be computed of a placeholder. What does not depend on the mapped axis can."""

    def f(used: bool) -> Any:
        def step(x: Any, y: Any) -> Any:
            seen = []
            out = vmap(lambda row: seen.append(row * 2 if used else y * 2) or row + 1)(x)
            return out * seen[0]

        return step

    graph_of(f(False), X, X)
    with pytest.raises(LeakedTracerError, match="outside of the function that vmap maps, made by mul at"):
        graph_of(f(True), X, X)


def test_errors_of_mapped_functions_name_the_users_line() -> None:
    def f(x: Any) -> Any:
        return x @ W.T

    with pytest.raises(ShapeError) as caught:
        graph_of(vmap(f), X)
    assert any("test_transforms.py" in note for note in caught.value.__notes__)


def test_mapped_nodes_keep_their_places() -> None:
    def f(x: Any) -> Any:
        y = tnp.sin(x)
        return tnp.exp(y)

    places = [n.loc for n in graph_of(vmap(f), X).nodes]
    first, second = (int(loc[0].split(":")[1]) for loc in places)
    assert second == first + 1


def test_all_axes() -> None:
    x = RNG.standard_normal((2, 3, 4))
    for i, o in itertools.product(range(-3, 3), repeat=2):
        found = run(vmap(lambda x: x * 2, i, o), x)
        close(found, np.moveaxis(2 * x, i, o))
