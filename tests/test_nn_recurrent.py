"""Recurrent layers and CTC against loops in NumPy, by the oracle and compiled; gradients by finite differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import close, graph_of

import tgc
from tgc import nn
from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.interpret import interpret

RNG = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def flat(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` with its results, nested pairs, in one list."""

    def leaves(x: Any) -> list[Any]:
        return [v for part in x for v in leaves(part)] if isinstance(x, tuple | list) else [x]

    return lambda *xs: leaves(f(*xs))


def run(f: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    return interpret(graph_of(flat(f), *arrays), *arrays)


def rnn_step(x: np.ndarray, s: Any, w: Any, u: Any, b: Any) -> Any:
    return (np.tanh(x @ w + s[0] @ u + b),)


def lstm_step(x: np.ndarray, s: Any, w: Any, u: Any, b: Any) -> Any:
    i, f, g, o = np.split(x @ w + s[0] @ u + b, 4, -1)
    c = sigmoid(f) * s[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x: np.ndarray, s: Any, w: Any, u: Any, b: Any) -> Any:
    (xz, xr, xh), (hz, hr, hh) = np.split(x @ w + b[0], 3, -1), np.split(s[0] @ u + b[1], 3, -1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    return (z * s[0] + (1 - z) * np.tanh(xh + r * hh),)


def gru_before_step(x: np.ndarray, s: Any, w: Any, u: Any, b: Any) -> Any:
    (xz, xr, xh), n = np.split(x @ w + b, 3, -1), s[0].shape[-1]
    z, r = sigmoid(xz + s[0] @ u[:, :n]), sigmoid(xr + s[0] @ u[:, n : 2 * n])
    return (z * s[0] + (1 - z) * np.tanh(xh + (r * s[0]) @ u[:, 2 * n :]),)


def loop(step: Any, x: np.ndarray, ps: Any, states: Any, seen: np.ndarray, reverse: bool, zero: bool) -> Any:
    """(outputs, states) by stepping through time."""
    ys = np.zeros((*x.shape[:2], ps[1].shape[0]))
    for t in range(x.shape[1])[:: -1 if reverse else 1]:
        keep = seen[:, t, None]
        states = tuple(np.where(keep, a, b) for a, b in zip(step(x[:, t], states, *ps), states, strict=True))
        ys[:, t] = np.where(keep, states[0], 0) if zero else states[0]
    return ys, states


LAYERS: dict[str, tuple[Callable[..., Any], int, int, tuple[int, ...], Any]] = {
    "rnn": (nn.rnn, 1, 1, (3,), rnn_step),
    "lstm": (nn.lstm, 4, 2, (12,), lstm_step),
    "gru": (nn.gru, 3, 1, (2, 9), gru_step),
    "gru before": (lambda *xs, **kw: nn.gru(*xs, reset_after=False, **kw), 3, 1, (9,), gru_before_step),
}
BATCH, TIME, IN, UNITS = 2, 5, 4, 3
ALL = np.ones((BATCH, TIME), bool)
LENGTHS = np.array([3, 5], np.int32)
PREFIX = np.arange(TIME) < LENGTHS[:, None]
HOLES = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 1, 1]], bool)


def operands(name: str) -> tuple[Callable[..., Any], list[np.ndarray], list[np.ndarray], Any]:
    """The layer as a function of arrays, x and parameters, initial states, the step."""
    layer, gates, n, bias, step = LAYERS[name]
    xs = [real(BATCH, TIME, IN), real(IN, gates * UNITS), real(UNITS, gates * UNITS), real(*bias)]

    def f(x: Any, w: Any, u: Any, b: Any, *states: Any, **attrs: Any) -> Any:
        return layer(x, w, u, b, states if n == 2 else states[0], **attrs)

    return f, xs, [real(BATCH, UNITS) for _ in range(n)], step


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    f, xs, states, step = operands(name)
    for attrs, seen in (
        ({}, ALL),
        ({"reverse": True}, ALL),
        ({"lengths": LENGTHS}, PREFIX),
        ({"lengths": LENGTHS, "reverse": True, "zero_masked": True}, PREFIX),
        ({"mask": HOLES}, HOLES),
    ):
        ys, last = loop(
            step, xs[0], xs[1:], tuple(states), seen, attrs.get("reverse", False), attrs.get("zero_masked", False)
        )
        for got, want in zip(run(lambda *v: f(*v, **attrs), *xs, *states), (ys, *last), strict=True):  # noqa: B023
            close(got, want)
        turned = lambda x, *v: f(x, *v, time_major=True, **attrs)  # noqa: B023, E731
        if "mask" not in attrs:
            close(run(turned, xs[0].swapaxes(0, 1), *xs[1:], *states)[0], ys.swapaxes(0, 1))
        short, *rest = run(lambda *v: f(*v, return_sequences=False, **attrs), *xs, *states)  # noqa: B023
        close(short, last[0])
        close(rest[-1], last[-1])
    check_gradients(flat(lambda *v: f(*v, lengths=LENGTHS)), *xs, *states)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compiled_without_states_and_in_half_precision(name: str) -> None:
    layer, (_, xs, states, step) = LAYERS[name][0], operands(name)
    zero = tuple(np.zeros_like(s) for s in states)
    ys, _ = loop(step, xs[0], xs[1:], zero, ALL, False, False)
    got = tgc.jit(lambda *v: layer(*v)[0])(*(x.astype(np.float32) for x in xs))
    close(np.asarray(got), ys, 1e-5)
    halves = run(layer, *(x.astype(np.float16) for x in xs))
    assert {h.dtype for h in halves} == {np.dtype(np.float16)}
    close(halves[0], ys, 1e-2)


def test_bidirectional() -> None:
    _, (x, *first), states, step = operands("lstm")
    second = operands("lstm")[1][1:]
    zero = tuple(np.zeros_like(s) for s in states)
    a, _ = loop(step, x, first, zero, PREFIX, False, False)
    b, last = loop(step, x, second, zero, PREFIX, True, False)
    for merge, want in (
        ("concat", np.concatenate([a, b], -1)), ("sum", a + b), ("mul", a * b), ("ave", (a + b) / 2),
    ):  # fmt: skip
        f = lambda *v: nn.bidirectional(nn.lstm, v[0], v[1:4], v[4:], merge=merge, lengths=LENGTHS)  # noqa: B023, E731
        made = run(f, x, *first, *second)
        close(made[0], want)
        close(made[-1], last[-1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x, w, u, b: nn.lstm(x[0], w, u, b),
            ShapeError,
            r"lstm\(f64\[5,4\], f64\[4,12\], f64\[3,12\]\): needs x",
        ),
        (lambda x, w, u, b: nn.gru(x, w, u), ShapeError, r"w \[in, 3 \* units\]"),
        (lambda x, w, u, b: nn.lstm(x, w, u, b[:3]), ShapeError, r"the bias must have the shape \(12,\)"),
        (lambda x, w, u, b: nn.gru(x, w[:, :9], u[:, :9], b[:9]), ShapeError, r"two biases: \[2, 3 \* units\]"),
        (lambda x, w, u, b: nn.lstm(x, w, u, b, (x[:, 0, :3],)), ShapeError, r"needs 2 state\(s\) of shape \(2, 3\)"),
        (lambda x, w, u, b: nn.lstm(x, w, u, mask=ALL, lengths=LENGTHS), AttributeSpecError, "not both"),
        (lambda x, w, u, b: nn.lstm(x, w, u, mask=ALL.T), ShapeError, "the mask must be booleans"),
        (lambda x, w, u, b: nn.lstm(x, w, u, lengths=LENGTHS[:1]), ShapeError, r"lengths must have the shape \(2,\)"),
        (lambda x, w, u, b: nn.lstm(x, w, u, lengths=np.ones(2)), DTypeError, "must be integers"),
        (
            lambda x, w, u, b: nn.bidirectional(nn.lstm, x, (w, u), (w, u), merge="max"),
            AttributeSpecError,
            "'concat', 'sum', 'mul' or 'ave'",
        ),
    ],
)
def test_errors(call: Callable[..., Any], error: type[Exception], message: str) -> None:
    def traced(*xs: Any) -> list[Any]:
        return flat(call)(*xs)

    with pytest.raises(error, match=message):
        graph_of(traced, real(2, 5, 4), real(4, 12), real(3, 12), real(12))


# ----------------------------------------------------------------------------------------------------------------- CTC


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def ctc_reference(logits: np.ndarray, labels: tuple[int, ...], blank: int) -> float:
    """By the sum over all paths."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    paths = itertools.product(range(p.shape[1]), repeat=len(p))
    total = sum(
        math.prod(p[t, k] for t, k in enumerate(path)) for path in paths if collapse(path, blank) == tuple(labels)
    )
    return -math.log(total) if total else math.inf


def test_ctc_of_labels_that_are_the_blank() -> None:
    """As in Optax, whose value this is."""
    logits = (np.arange(24, dtype=np.float32).reshape(2, 4, 3) - 12) / 100
    labels, sizes = np.array([[1, 2, 1, 0], [1, 2, 0, 2]]), np.array([3, 3])
    (found,) = run(lambda x: nn.ctc(x, labels, label_lengths=sizes), logits)
    assert abs(found - 2.448645) < 1e-5


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc(blank: int) -> None:
    logits = real(5, 5, 3) * 2
    a, b = (k for k in range(3) if k != blank)
    labels = np.array([[a, b, a], [a, a, 99], [b, -1, -1], [99, 99, 99], [a, a, a]], np.int32)
    times, sizes = np.array([5, 4, 2, 3, 4]), np.array([3, 2, 1, 0, 3])
    want = [ctc_reference(x[:t], y[:n], blank) for x, t, y, n in zip(logits, times, labels, sizes, strict=True)]
    f = lambda x, y, t, n, **kw: nn.ctc(x, y, logit_lengths=t, label_lengths=n, blank=blank, **kw)  # noqa: E731
    (got,) = run(lambda *v: f(*v, reduction="none"), logits, labels, times, sizes)
    assert want[4] == math.inf  # three times the same label needs five steps
    close(got, want, 1e-10)
    check_gradients(f, logits[:4], labels[:4], times[:4], sizes[:4])
    (slope,) = gradients(f, logits, labels, times, sizes)
    assert np.isfinite(slope).all()
    assert (slope[4] == 0).all()
    (whole,) = run(lambda x, y: nn.ctc(x, y, blank=blank, reduction="sum"), logits[:1], labels[:1])
    close(whole, want[0], 1e-10)
    assert np.isfinite(run(lambda x, y: nn.ctc(x, y, blank=blank), logits * 1e3, labels[:, :1] * 0 + a)[0])
    with pytest.raises(AttributeSpecError, match="blank 3 is none of 3 classes"):
        nn.ctc(logits, labels, blank=3)
    with pytest.raises(ShapeError, match=r"ctc\(f64\[5,3\], i32\[5,3\]\): needs logits"):
        nn.ctc(logits[0], labels)
