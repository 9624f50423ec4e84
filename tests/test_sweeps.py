"""Reductions of several sweeps: functions evaluated once an element, results the same as if evaluated again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.interpret import interpret
from tgc.passes import PIPELINE

X = np.random.default_rng(0).standard_normal((5, 37)).astype(np.float32)
LABELS = np.arange(5, dtype=np.int32)


def weights(x: Any) -> Any:
    return tnp.exp(x - x.max(axis=-1, keepdims=True))


def total(x: Any) -> Any:
    return x.sum(axis=-1, keepdims=True)


def loss_and_gradient(x: Any) -> Any:
    return tgc.value_and_grad(lambda x: nn.cross_entropy(x, LABELS).mean())(x)


def squared(x: Any) -> Any:
    e = weights(x)
    y = e / total(e)
    return y * total(y * y)


# How often a kernel's text evaluates exp, where its result holds the exponentials until they are divided.
ONCE: dict[str, Callable[[Any], Any]] = {
    "rows": nn.softmax,
    "columns": lambda x: nn.softmax(x, axis=0),
    "loss and gradient": loss_and_gradient,
    "three sweeps": squared,
}
# Where it cannot: the exponentials are a result, two results need them, or another element's, or results are narrower.
AGAIN: dict[str, Callable[[Any], Any]] = {
    "exponentials too": lambda x: (e := weights(x), e / total(e)),
    "two results": lambda x: ((e := weights(x)) / total(e), e * total(e)),
    "reversed": lambda x: (e := weights(x)) / total(e) + tnp.flip(e, -1),
    "float16": lambda x: nn.softmax(x.astype(np.float16)),
}


def check(f: Callable[[Any], Any]) -> str:
    compiled = tgc.jit(f)
    low = compiled.lower(X)
    got = compiled(X)
    for a, b in zip(got if isinstance(got, tuple) else (got,), interpret(low.graph, X), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3 if a.dtype == np.float16 else 1e-5, atol=1e-7)
    return "\n".join(low.kernels.values())


@pytest.mark.parametrize("f", ONCE.values(), ids=ONCE)
def test_a_result_holds_the_value_that_its_sweeps_share(f: Callable[[Any], Any]) -> None:
    assert check(f).count("exp_f32(") == 1


@pytest.mark.parametrize("f", AGAIN.values(), ids=AGAIN)
def test_what_other_results_need_is_not_overwritten(f: Callable[[Any], Any]) -> None:
    check(f)


def test_a_result_over_its_operand_holds_nothing_else() -> None:
    """y takes the memory of x, which the last sweep still reads."""

    def f(x: Any, y: Any) -> Any:
        e = weights(y)
        return x + e / total(e)

    y = X[::-1].copy()
    want = f(X, y)
    compiled = tgc.jit(f, donate=(0,))
    np.testing.assert_allclose(compiled(X.copy(), y), want, rtol=1e-5)


ROWS: dict[str, Callable[[Any], Any]] = {  # one short sweep of each row: several are folded at once
    "sum": lambda x: x.sum(-1),
    "largest": lambda x: x.max(-1) * 2,
    "place": lambda x: x.argmax(-1),
    "two": lambda x: (x.min(-1), x.prod(-1)),
    "product": lambda x: x @ X[0],
    "inner axis": lambda x: x.reshape(-1, 3, 37).sum(-1),
    "outer axis too": lambda x: x.reshape(3, -1, 37).sum((0, 2)),
}


@pytest.mark.parametrize("rows", [64, 66, 3, 0])
@pytest.mark.parametrize("f", ROWS.values(), ids=ROWS)
def test_rows_at_once(f: Callable[[Any], Any], rows: int) -> None:
    """Those left over, and all where there are few, are folded one by one; the kernel is the same."""
    x = np.random.default_rng(1).uniform(-1, 1, (3 * rows, 37)).astype(np.float32)
    x[1:2, 5] = np.nan
    compiled = tgc.jit(f)
    low = compiled.lower(x)
    got = compiled(x)
    for a, b in zip(got if isinstance(got, tuple) else (got,), interpret(low.graph, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if rows:
        assert low.kernels == compiled.lower(np.zeros((192, 37), np.float32)).kernels


def test_chunks_are_not_summed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a range of its own, however many there are."""
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("split", "split{chunks=64}"))
    x = np.arange(10_000, dtype=np.float32) % 7
    assert tgc.jit(lambda x: x.sum())(x) == x.sum()
