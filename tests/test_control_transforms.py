"""Mapped control flow, and its tangents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.interpret import interpret

RNG = np.random.default_rng(0)
XS, W, H = RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3)), RNG.standard_normal(4)


def recurrence(h: Any, w: Any, xs: Any) -> tuple[Any, Any]:
    """A scan whose body closes over `w`, has an integer carry and a y that does not depend on the carry."""

    def step(carry: Any, x: Any) -> Any:
        h, n = carry
        h = tnp.tanh(w @ x + h * 0.5)
        return (h, n + 1), (h.sum() * n, x * 2)

    (h, _), ys = tgc.scan(step, (h, 0), xs)
    return h, ys[0], ys[1]


def newton(h: Any, w: Any, xs: Any) -> Any:
    """Square roots by a loop that ends when they are good enough: after another number of steps for each element."""
    goal = abs(h) + xs.sum() ** 2 + 1

    def going(state: Any) -> Any:
        root, k = state
        return (abs(root * root - goal).max() > 1e-12) & (k < 60)

    root, _ = tgc.while_loop(going, lambda s: ((s[0] + goal / s[0]) / 2, s[1] + 1), (goal, 0))
    return root


def branches(h: Any, w: Any, xs: Any) -> Any:
    """A choice by a number that may be mapped, one branch of which does not depend on `h`."""
    index = (xs.sum() > 0).astype("int32") + (h.sum() > 0)
    return tgc.switch(index, [lambda h: tnp.sin(h), lambda h: w @ xs[0], lambda h: h * h * xs[1, 1]], h)


def nested(h: Any, w: Any, xs: Any) -> Any:
    """A loop in a scan, and a branch in it."""

    def step(h: Any, x: Any) -> Any:
        h = tgc.fori_loop(0, 3, lambda i, h: h + tnp.sin(h) * x.sum() * i * 0.1, h)
        return tgc.cond(x[0] > 0, lambda h: h * 0.5, lambda h: tnp.cos(h), h), h[0]

    return tgc.scan(step, h, xs)


FUNCTIONS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (recurrence, newton, branches, nested)}
parametrize = pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)


def flat(f: Callable[..., Any]) -> Callable[..., list[Any]]:
    def listed(*args: Any) -> list[Any]:
        out = f(*args)
        return list(out) if isinstance(out, list | tuple) else [out]

    return listed


@parametrize
@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)], ids=str)
def test_mapped_is_a_loop(f: Callable[..., Any], axes: tuple[int | None, ...]) -> None:
    given = (H, W, XS)
    arrays = [x if a is None else x + RNG.standard_normal((4, *x.shape)) for x, a in zip(given, axes, strict=True)]
    mapped = interpret(graph_of(tgc.vmap(flat(f), axes), *arrays), *arrays)
    for k in range(4):
        one = [x if a is None else x[k] for x, a in zip(arrays, axes, strict=True)]
        for got, want in zip(mapped, interpret(graph_of(flat(f), *one), *one), strict=True):
            np.testing.assert_allclose(got[k], want, rtol=1e-12, atol=1e-12)


@parametrize
def test_tangents_are_differences(f: Callable[..., Any]) -> None:
    ways = [RNG.standard_normal(x.shape) for x in (H, W, XS)]
    pushed = graph_of(lambda *xs: tgc.jvp(flat(f), xs[:3], xs[3:])[1], H, W, XS, *ways)
    tangents = interpret(pushed, H, W, XS, *ways)
    plain = graph_of(flat(f), H, W, XS)
    high, low = (interpret(plain, *(x + t * v for x, v in zip((H, W, XS), ways, strict=True))) for t in (1e-6, -1e-6))
    for got, a, b in zip(tangents, high, low, strict=True):
        np.testing.assert_allclose(got, (a - b) / 2e-6, rtol=1e-6, atol=1e-7)


@parametrize
def test_compiled_and_nested(f: Callable[..., Any]) -> None:
    """Tangents of the mapped function, compiled, are those that the oracle finds; and map over `jvp`."""
    hs, dhs = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4))

    def outside(h: Any, dh: Any) -> Any:
        return tgc.jvp(tgc.vmap(lambda h: flat(f)(h, W, XS)), (h,), (dh,))[1]

    def inside(h: Any, dh: Any) -> Any:
        return tgc.vmap(lambda h, dh: tgc.jvp(lambda h: flat(f)(h, W, XS), (h,), (dh,))[1])(h, dh)

    want = interpret(graph_of(outside, hs, dhs), hs, dhs)
    for results in (tgc.jit(outside)(hs, dhs), interpret(graph_of(inside, hs, dhs), hs, dhs)):
        for a, b in zip(results, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_tangents_and_gradients_agree() -> None:
    """<jvp(v), u> = <v, vjp(u)>; the Hessian by either mode over the other."""
    f = flat(lambda h: recurrence(h, W, XS)[:2])
    v = RNG.standard_normal(4)
    out, pullback = tgc.vjp(f, H)
    us = [RNG.standard_normal(y.shape) for y in out]
    _, tangents = tgc.jvp(f, (H,), (v,))
    (g,) = pullback(us)
    np.testing.assert_allclose(sum((t * u).sum() for t, u in zip(tangents, us, strict=True)), (v * g).sum(), rtol=1e-10)
    loss = lambda h: (recurrence(h, W, XS)[0] ** 2).sum()  # noqa: E731
    forward = tgc.jacfwd(tgc.grad(loss))(H)
    np.testing.assert_allclose(forward, tgc.jacrev(tgc.grad(loss))(H), rtol=1e-9, atol=1e-12)
