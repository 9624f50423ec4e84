"""Recurrent layers: RNN, LSTM and GRU, in one or two directions.

    x          [time, batch, in], or [batch, time, in] if `layout`
    w, r, b    [directions, gates * units, in], [directions, gates * units, units], [directions, 2 * gates * units]
    states     [directions, batch, units], or [batch, directions, units] if `layout`
    y          [time, directions, batch, units], or [batch, time, directions, units] if `layout`

The products with `w` are one for all steps; the others run in a `scan`. Steps from a sequence's length on keep the
state, and their outputs are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tgc import nn
from tgc import numpy as tnp
from tgc.control import scan
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor

Function = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]
# (projected input, states) -> states
Cell = Callable[[Tensor, States], States]

# name -> function of x and parameters; the defaults of alpha and beta, where it has them
ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "relu": (nn.relu, ()),
    "tanh": (tnp.tanh, ()),
    "sigmoid": (nn.sigmoid, ()),
    "softsign": (nn.softsign, ()),
    "softplus": (nn.softplus, ()),
    "leakyrelu": (nn.leaky_relu, (0.01,)),
    "elu": (nn.elu, (1.0,)),
    "thresholdedrelu": (lambda x, alpha: tnp.where(x >= alpha, x, 0), (1.0,)),
    "affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "scaledtanh": (lambda x, alpha, beta: alpha * tnp.tanh(beta * x), (1.0, 1.0)),
    "hardsigmoid": (lambda x, alpha, beta: tnp.clip(alpha * x + beta, 0, 1), (0.2, 0.5)),
}


def _activations(
    names: Sequence[str], alphas: Sequence[float] | None, betas: Sequence[float] | None, clip: float | None
) -> list[Function]:
    """The functions, each with the next of the parameters if it has any; what they are given is clipped."""
    given: tuple[Iterator[float], ...] = (iter(alphas or ()), iter(betas or ()))

    def made(name: str) -> Function:
        if name.lower() not in ACTIVATIONS:
            raise InvalidModelError(f"there is no activation {name}; there are {', '.join(ACTIVATIONS)}")
        function, defaults = ACTIVATIONS[name.lower()]
        parameters = [next(values, default) for values, default in zip(given, defaults, strict=False)]
        return lambda x: function(x if clip is None else tnp.clip(x, -clip, clip), *parameters)

    return [made(name) for name in names]


def _layer(
    cell: Callable[..., Cell],
    count: int,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial: Sequence[Tensor | None],
    parameters: Sequence[Tensor | None] = (),
    *,
    names: Sequence[str],
    outputs: int,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> Any:
    """(outputs, *last states) of a layer, as many as `outputs`.

    Args:
        cell: makes the function of one direction, of its recurrent kernel [gates * units, units], its recurrent bias
            [gates * units] or None, its part of `parameters` and its activation functions.
        count: the gates; `names` are the activation functions of one direction, unless `activations` are given.
    """
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    units = r.shape[-1]
    if reverse is None or w.shape[0] != len(reverse) or (hidden_size or units) != units:
        raise InvalidModelError(
            f"direction {direction} and {hidden_size} units do not fit weights {tuple(w.shape)} and {tuple(r.shape)}"
        )
    ways = len(reverse)
    functions = _activations(activations or [*names] * ways, activation_alpha, activation_beta, clip)
    if len(functions) != ways * len(names):
        raise InvalidModelError(f"needs {ways * len(names)} activations, not {activations}")
    if layout:
        x = tnp.swapaxes(x, 0, 1)
        initial = [None if s is None else tnp.swapaxes(s, 0, 1) for s in initial]
    time, batch, _ = x.shape
    zero = tnp.zeros((batch, units), x.dtype)
    seen = None
    if lengths is not None:
        seen = tnp.less(tnp.reshape(tnp.arange(time), (-1, 1, 1)), tnp.reshape(lengths, (-1, 1)))
    made = []
    for k, backwards in enumerate(reverse):
        z = tnp.inner(x, w[k])
        inner = None
        if b is not None:
            z, inner = z + b[k, : count * units], b[k, count * units :]
        own = [None if p is None else p[k] for p in parameters]
        step = cell(r[k], inner, *own, *functions[k * len(names) : (k + 1) * len(names)])
        made.append(_steps(step, z, tuple(zero if s is None else s[k] for s in initial), seen, backwards))
    ys = tnp.stack([y for y, _ in made], 1)
    last = [tnp.stack(states) for states in zip(*(s for _, s in made), strict=True)]
    if layout:
        ys, last = tnp.transpose(ys, (2, 0, 1, 3)), [tnp.swapaxes(s, 0, 1) for s in last]
    return (ys, *last)[:outputs] if outputs > 1 else ys


def _steps(cell: Cell, z: Tensor, states: States, seen: Tensor | None, reverse: bool) -> tuple[Tensor, States]:
    """The first state after each step of `z` [time, batch, ...], and the last states."""

    def body(carry: States, row: tuple[Tensor, Tensor | None]) -> tuple[States, Tensor]:
        new = cell(row[0], carry)
        if row[1] is None:
            return new, new[0]
        return tuple(tnp.where(row[1], a, b) for a, b in zip(new, carry, strict=True)), tnp.where(row[1], new[0], 0)

    last, ys = scan(body, states, (z, seen), reverse=reverse)
    return ys, last


def _plus(x: Tensor, b: Tensor | None) -> Tensor:
    return x if b is None else x + b


@converts("RNN", since=7)
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    /,
    *,
    outputs: int = 1,
    **attrs: Any,
) -> Any:
    """ONNX RNN: f(x w + h r + b)."""

    def cell(r: Tensor, inner: Tensor | None, f: Function) -> Cell:
        return lambda z, states: (f(z + _plus(tnp.inner(states[0], r), inner)),)

    return _layer(cell, 1, x, w, r, b, sequence_lens, (initial_h,), names=["Tanh"], outputs=outputs, **attrs)


@converts("GRU", since=7)
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    /,
    *,
    linear_before_reset: int = 0,
    outputs: int = 1,
    **attrs: Any,
) -> Any:
    """ONNX GRU: gates of update, reset and candidate.

    The reset gate multiplies the state, or with `linear_before_reset` the state's part of the candidate.
    """

    def cell(r: Tensor, inner: Tensor | None, f: Function, g: Function) -> Cell:
        units = r.shape[1]
        # What the state adds to all gates, or before the reset to the first two: the product of one matrix.
        own = slice(None) if linear_before_reset else slice(2 * units)
        bias = inner if inner is None else inner[own]
        candidate_bias = None if inner is None else inner[2 * units :]

        def step(z: Tensor, states: States) -> States:
            (h,) = states
            product = _plus(tnp.inner(h, r[own]), bias)
            update, reset = tnp.split(f(z[:, : 2 * units] + product[:, : 2 * units]), 2, -1)
            if linear_before_reset:
                hidden = reset * product[:, 2 * units :]
            else:
                hidden = _plus(tnp.inner(reset * h, r[2 * units :]), candidate_bias)
            return (update * h + (1 - update) * g(z[:, 2 * units :] + hidden),)

        return step

    return _layer(cell, 3, x, w, r, b, sequence_lens, (initial_h,), names=["Sigmoid", "Tanh"], outputs=outputs, **attrs)


@converts("LSTM", since=7)
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
    /,
    *,
    input_forget: int = 0,
    outputs: int = 1,
    **attrs: Any,
) -> Any:
    """ONNX LSTM: gates of input, output, forgetting and candidate; `peepholes` are those of the first three.

    With `input_forget` what is let in is forgotten.
    """

    def cell(r: Tensor, inner: Tensor | None, p: Tensor | None, f: Function, g: Function, h: Function) -> Cell:
        see = (None, None, None) if p is None else tnp.split(p, 3)

        def peep(gate: Tensor, k: int, c: Tensor) -> Tensor:
            return gate if see[k] is None else gate + see[k] * c

        def step(z: Tensor, states: States) -> States:
            output, c = states
            into, out, forget, candidate = tnp.split(z + _plus(tnp.inner(output, r), inner), 4, -1)
            let_in = f(peep(into, 0, c))
            kept = 1 - let_in if input_forget else f(peep(forget, 2, c))
            new = kept * c + let_in * g(candidate)
            return f(peep(out, 1, new)) * h(new), new

        return step

    names = ["Sigmoid", "Tanh", "Tanh"]
    initial = (initial_h, initial_c)
    return _layer(cell, 4, x, w, r, b, sequence_lens, initial, (peepholes,), names=names, outputs=outputs, **attrs)
