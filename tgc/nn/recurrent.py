"""Recurrent layers over sequences: simple, LSTM and GRU, in Keras's layout and order of the gates.

    x       [batch, time, in], or [time, batch, in] if `time_major`
    w       [in, gates * units], the kernel
    u       [units, gates * units], the recurrent kernel
    b       [gates * units] (a GRU with `reset_after`: [2, gates * units], for the input and for the state)
    state   [batch, units], zeros unless given; of an LSTM a pair of output and cell

All return (outputs, state): outputs [batch, time, units] (or time first), or with `return_sequences=False` the last one
[batch, units]. Steps that are masked, by `mask` [batch, time] of booleans or by `lengths` [batch], keep the state and
repeat its output, which `zero_masked` makes 0. With `reverse` the last step comes first, and outputs stay where their
inputs are. The products with `w` are one for all steps; the others run in a `scan`. Half precision is computed in
float32.

All raise
    ShapeError: the operands do not fit.
    AttributeSpecError: both a mask and lengths are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tgc.control import scan
from tgc.errors import AttributeSpecError
from tgc.nn.activations import sigmoid, tanh
from tgc.nn.positions import sequence_mask
from tgc.numpy.base import Array, ArrayLike, accumulator, as_array, as_real, refuse
from tgc.numpy.elementwise import where
from tgc.numpy.manipulation import concatenate, expand_dims, split, swapaxes
from tgc.numpy.products import matmul
from tgc.ops import creation
from tgc.ops.arithmetic import as_tensor, result_type
from tgc.types import BOOL, DType

__all__ = ["bidirectional", "gru", "gru_cell", "lstm", "lstm_cell", "rnn", "rnn_cell"]

Activation = Callable[[Any], Any]
State = tuple[Array, ...]


def rnn_cell(z: Array, h: Array, u: Array, *, activation: Activation = tanh) -> Array:
    """The next state: activation(z + h u), for the projected input z = x w + b [batch, units]."""
    return activation(z + matmul(h, u))


def lstm_cell(
    z: Array,
    state: tuple[Array, Array],
    u: Array,
    *,
    activation: Activation = tanh,
    recurrent_activation: Activation = sigmoid,
) -> tuple[Array, Array]:
    """The next (output, cell) (Hochreiter and Schmidhuber, 1997; with a forget gate: Gers et al., 2000).

    `z` = x w + b [batch, 4 * units]; gates are those of input, forgetting, candidate and output, in this order.
    """
    h, c = state
    i, f, g, o = split(z + matmul(h, u), 4, -1)
    c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
    return recurrent_activation(o) * activation(c), c


def gru_cell(
    z: Array,
    h: Array,
    u: Array,
    recurrent_b: Array | None = None,
    *,
    activation: Activation = tanh,
    recurrent_activation: Activation = sigmoid,
    reset_after: bool = True,
) -> Array:
    """The next state (Cho et al., 2014): gates of update, reset and candidate, in this order.

    `z` = x w + b [batch, 3 * units]. With `reset_after` the reset gate multiplies the product of state and recurrent
    kernel, plus `recurrent_b` [3 * units] (cuDNN's and PyTorch's form), else the state itself, before the product.
    """
    units = h.shape[-1]
    x_gates, x_candidate = z[..., : 2 * units], z[..., 2 * units :]
    inner = matmul(h, u if reset_after else u[:, : 2 * units])
    inner = inner if recurrent_b is None else inner + recurrent_b
    update, reset = split(recurrent_activation(x_gates + inner[..., : 2 * units]), 2, -1)
    candidate = reset * inner[..., 2 * units :] if reset_after else matmul(reset * h, u[:, 2 * units :])
    return update * h + (1 - update) * activation(x_candidate + candidate)


def _projected(
    function: str, gates: int, x: ArrayLike, w: ArrayLike, u: ArrayLike, b: ArrayLike | None
) -> tuple[Array, Array, DType]:
    """x w + b and the recurrent kernel, in the dtype of computation, and the dtype of results."""
    x, w, u = as_real(x), as_real(w), as_real(u)
    units = u.shape[0] if u.ndim else 0
    if x.ndim != 3 or w.shape != (x.shape[-1], gates * units) or u.shape != (units, gates * units) or not units:
        raise refuse(
            function, [x, w, u], f"needs x [batch, time, in], w [in, {gates} * units], u [units, {gates} * units]"
        )
    dtype = result_type(x, w, u)
    x, w, u = (as_tensor(v, accumulator(dtype)) for v in (x, w, u))
    z = matmul(x, w)
    if b is not None:
        b = as_array(b)
        if b.shape != (gates * units,):
            raise refuse(function, [x, w, u, b], f"the bias must have the shape {(gates * units,)}")
        z = z + as_tensor(b, z.dtype)
    return z, u, dtype


def _initial(function: str, state: Any, n: int, batch: int, units: int, dtype: DType) -> State:
    if state is None:
        return (creation.fill((batch, units), dtype, 0),) * n
    given = (state,) if n == 1 else tuple(state)
    if len(given) != n or any(as_array(s).shape != (batch, units) for s in given):
        raise refuse(function, given, f"needs {n} state(s) of shape {(batch, units)}")
    return tuple(as_tensor(as_array(s), dtype) for s in given)


def _steps(
    function: str,
    z: Array,
    states: State,
    cell: Callable[[Array, State], State],
    dtype: DType,
    *,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    time_major: bool = False,
    return_sequences: bool = True,
    zero_masked: bool = False,
) -> tuple[Array, State]:
    """`cell` applied to the steps of `z` [batch, time, ...] one after the other: (outputs, states) in `dtype`."""
    if mask is not None and lengths is not None:
        raise AttributeSpecError(f"{function}: give a mask or lengths, not both")
    time, batch = (z.shape[0], z.shape[1]) if time_major else (z.shape[1], z.shape[0])
    if lengths is not None:
        lengths = as_array(lengths)
        if lengths.shape != (batch,):
            raise refuse(function, [z, lengths], f"lengths must have the shape {(batch,)}")
        seen = swapaxes(sequence_mask(lengths, time), 0, 1)
    elif mask is not None:
        seen = as_array(mask)
        seen = seen if time_major else swapaxes(seen, 0, 1) if seen.ndim == 2 else seen
        if seen.shape != (time, batch) or seen.dtype != BOOL:
            raise refuse(function, [z, mask], "the mask must be booleans with x's axes of batch and time")
    else:
        seen = None

    def body(carry: State, row: tuple[Array, Array | None]) -> tuple[State, Array | None]:
        new = cell(row[0], carry)
        if row[1] is None:
            return new, new[0] if return_sequences else None
        keep = expand_dims(row[1], -1)
        new = tuple(where(keep, a, b) for a, b in zip(new, carry, strict=True))
        y = where(keep, new[0], 0) if zero_masked else new[0]
        return new, y if return_sequences else None

    rows = z if time_major else swapaxes(z, 0, 1)
    last, ys = scan(body, states, (rows, seen), reverse=reverse)
    if return_sequences:
        outputs = as_tensor(ys if time_major else swapaxes(ys, 0, 1), dtype)
    else:
        outputs = as_tensor(last[0], dtype)
    return outputs, tuple(as_tensor(s, dtype) for s in last)


def rnn(
    x: ArrayLike,
    w: ArrayLike,
    u: ArrayLike,
    b: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    activation: Activation = tanh,
    **steps: Any,
) -> tuple[Array, Array]:
    """(outputs, state) of `rnn_cell` over a sequence (Elman, 1990). Keywords: see the module."""
    z, u, dtype = _projected("rnn", 1, x, w, u, b)
    first = _initial("rnn", state, 1, *_batch_units(z, u, steps), z.dtype)
    cell = lambda row, s: (rnn_cell(row, s[0], u, activation=activation),)  # noqa: E731
    outputs, (last,) = _steps("rnn", z, first, cell, dtype, **steps)
    return outputs, last


def lstm(
    x: ArrayLike,
    w: ArrayLike,
    u: ArrayLike,
    b: ArrayLike | None = None,
    state: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    activation: Activation = tanh,
    recurrent_activation: Activation = sigmoid,
    **steps: Any,
) -> tuple[Array, tuple[Array, Array]]:
    """(outputs, (output, cell)) of `lstm_cell` over a sequence; w [in, 4 * units]. Keywords: see the module."""
    z, u, dtype = _projected("lstm", 4, x, w, u, b)
    first = _initial("lstm", state, 2, *_batch_units(z, u, steps), z.dtype)

    def cell(row: Array, s: State) -> State:
        return lstm_cell(row, (s[0], s[1]), u, activation=activation, recurrent_activation=recurrent_activation)

    outputs, (h, c) = _steps("lstm", z, first, cell, dtype, **steps)
    return outputs, (h, c)


def gru(
    x: ArrayLike,
    w: ArrayLike,
    u: ArrayLike,
    b: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    activation: Activation = tanh,
    recurrent_activation: Activation = sigmoid,
    reset_after: bool = True,
    **steps: Any,
) -> tuple[Array, Array]:
    """(outputs, state) of `gru_cell` over a sequence; w [in, 3 * units]. Keywords: see the module."""
    inner = None
    if b is not None and reset_after:
        b = as_array(b)
        if b.ndim != 2 or b.shape[0] != 2:
            raise refuse("gru", [b], "with reset_after there are two biases: [2, 3 * units]")
        b, inner = b[0], b[1]
    z, u, dtype = _projected("gru", 3, x, w, u, b)
    inner = None if inner is None else as_tensor(inner, z.dtype)
    first = _initial("gru", state, 1, *_batch_units(z, u, steps), z.dtype)

    def cell(row: Array, s: State) -> State:
        gates = {"activation": activation, "recurrent_activation": recurrent_activation}
        return (gru_cell(row, s[0], u, inner, reset_after=reset_after, **gates),)

    outputs, (last,) = _steps("gru", z, first, cell, dtype, **steps)
    return outputs, last


def _batch_units(z: Array, u: Array, steps: dict[str, Any]) -> tuple[int, int]:
    return z.shape[1 if steps.get("time_major") else 0], u.shape[0]


def bidirectional(
    layer: Callable[..., tuple[Array, Any]],
    x: ArrayLike,
    forward: tuple[ArrayLike | None, ...],
    backward: tuple[ArrayLike | None, ...],
    states: tuple[Any, Any] = (None, None),
    *,
    merge: str = "concat",
    **attrs: Any,
) -> tuple[Array, tuple[Any, Any]]:
    """(outputs, (state, state)) of a `layer`, such as `lstm`, over a sequence in both directions.

    Args:
        forward, backward: (w, u) or (w, u, b) of each direction.
        states: the initial states of each.
        merge: how outputs join: "concat" along the units, "sum", "mul" or "ave".

    Raises:
        AttributeSpecError: another merge.
    """
    made = []
    for (w, u, *b), state, back in ((forward, states[0], False), (backward, states[1], True)):
        made.append(layer(x, w, u, *(b or [None]), state, reverse=back, **attrs))
    (a, first), (b, second) = made
    match merge:
        case "concat":
            joined = concatenate([a, b], -1)
        case "sum" | "ave":
            joined = a + b if merge == "sum" else (a + b) / 2
        case "mul":
            joined = a * b
        case _:
            raise AttributeSpecError(f"bidirectional: merge is 'concat', 'sum', 'mul' or 'ave', not {merge!r}")
    return joined, (first, second)
