"""Recurrences: Keras's loop over steps as a scan, and its layers as those of `tgc.nn`.

Layers whose steps are masked take the loop, as they do on Keras's other backends without cuDNN: the functions below are
not told what a masked step returns. The loop is as good: products with the inputs leave it when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras.src import tree

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.effects import scan_with_effects
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = ["bidirectional_gru", "bidirectional_lstm", "cudnn_ok", "gru", "lstm", "rnn"]

Activation = Callable[[Tensor], Tensor]
Outcome = tuple[Tensor, Tensor, list[Tensor]]  # the last output, outputs, states


def _swapped(values: Any) -> Any:
    """The tensors of a structure with the axes of batch and time exchanged."""
    return tree.map_structure(lambda x: tnp.swapaxes(convert_to_tensor(x), 0, 1), values)


def _where(masked: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where a step [batch, 1] is masked, else `b`."""
    return tnp.where(tnp.reshape(masked, (masked.shape[0], *(1,) * (b.ndim - 1))), a, b)


def rnn(
    step_function: Callable[..., tuple[Tensor, Any]],
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Tensor | None = None,
    constants: Sequence[Tensor] | None = None,
    unroll: bool = False,
    input_length: int | None = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> tuple[Tensor, Tensor, Any]:
    """(the last output, outputs [batch, time, ...], the last states) of `step_function` over a sequence.

    Args:
        step_function: (inputs of a step, states) -> (output, states).
        inputs: a structure of [batch, time, ...], or time first if `time_major`, as outputs are then.
        go_backwards: whether the last step comes first; its output then comes first too.
        mask: [batch, time] or [batch, time, 1], true at steps that count. Others keep the states, and their output is
            the first state (of the last cell, if there are several), or with `unroll` the output before; it is 0 if
            `zero_output_for_mask`.
        constants: further states, which stay the same.
        unroll: whether steps are written out.
        return_all_outputs: else outputs may be the last one alone: [batch, 1, ...].
    """
    inputs = inputs if time_major else _swapped(inputs)
    masked = None
    if mask is not None:
        masked = tnp.logical_not(cast(mask, "bool"))
        masked = tnp.all(masked, axis=-1) if masked.ndim == 3 else masked
        masked = masked if time_major else tnp.swapaxes(masked, 0, 1)
    kept: list[int] = []  # which state the output of the step is, if it is one

    def step(
        states: list[Tensor], x: Any, skipped: Tensor | None, before: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        packed = tree.pack_sequence_as(initial_states, states)
        output, new = step_function(x, (*packed, *constants) if constants else packed)
        new = tree.flatten(new)
        kept[:] = [i for i, s in enumerate(new) if s is output][:1]
        if skipped is None:
            return new, output
        if zero_output_for_mask:
            kept.clear()
            instead: Tensor = tnp.zeros_like(output)
        elif before is not None:
            instead = before
        else:
            first = packed[-1][0] if tree.is_nested(packed[0]) else packed[0]
            kept[:] = [i for i in kept if states[i] is first]
            instead = first
        states = [_where(skipped, a, b) for a, b in zip(states, new, strict=True)]
        return states, _where(skipped, instead, output)

    states = [convert_to_tensor(s) for s in tree.flatten(initial_states)]
    length = tree.flatten(inputs)[0].shape[0]
    if unroll:
        if not length:
            raise ValueError("rnn: unroll=True needs one step at least")
        outputs: list[Tensor] = []
        for t in reversed(range(length)) if go_backwards else range(length):
            x = tree.map_structure(lambda rows, t=t: rows[t], inputs)
            before = outputs[-1] if outputs else 0
            states, output = step(states, x, None if masked is None else masked[t], before)
            outputs.append(output)
        last, sequence = outputs[-1], tnp.stack(outputs if return_all_outputs else outputs[-1:])
    else:

        def body(carry: list[Tensor], row: tuple[list[Tensor], Tensor | None]) -> tuple[list[Tensor], Tensor | None]:
            new, output = step(carry, tree.pack_sequence_as(inputs, row[0]), row[1], None)
            return new, None if kept and not return_all_outputs else output

        rows = [convert_to_tensor(x) for x in tree.flatten(inputs)]
        states, sequence = scan_with_effects(body, states, (rows, masked), reverse=go_backwards)
        if sequence is None:
            last = states[kept[0]]
            sequence = tnp.expand_dims(last, 0)
        else:
            sequence = tnp.flip(sequence, 0) if go_backwards else sequence
            last = sequence[-1]
    sequence = sequence if time_major else tnp.swapaxes(sequence, 0, 1)
    return last, sequence, tree.pack_sequence_as(initial_states, states)


def cudnn_ok(*args: Any, **kwargs: Any) -> bool:
    """Whether a layer would be cuDNN's: never; what `lstm` and `gru` accept does not depend on it."""
    return False


def _layer(
    function: Callable[..., tuple[Tensor, Any]],
    inputs: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    mask: Tensor | None,
    unroll: bool,
    return_sequences: bool,
    reverse: bool,
    **options: Any,
) -> Outcome:
    """What a layer of `tgc.nn` returns, as Keras has it; outputs lie where their inputs are."""
    if mask is not None or unroll:
        raise NotImplementedError("layers that are masked or unrolled take the loop of Keras's cells")
    first = [convert_to_tensor(s) for s in states]
    parameters = [None if w is None else convert_to_tensor(w) for w in weights]
    outputs, state = function(
        convert_to_tensor(inputs),
        *parameters,
        tuple(first) if len(first) > 1 else first[0],
        return_sequences=return_sequences,
        reverse=reverse,
        **options,
    )
    last = list(state) if isinstance(state, tuple) else [state]
    return last[0], outputs if return_sequences else tnp.expand_dims(outputs, 1), last


def _processed(outcome: Outcome, go_backwards: bool) -> Outcome:
    """Outputs in the order in which steps were taken."""
    last, outputs, states = outcome
    return last, tnp.flip(outputs, 1) if go_backwards else outputs, states


def lstm(
    inputs: Tensor,
    initial_state_h: Tensor,
    initial_state_c: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None,
    activation: Activation,
    recurrent_activation: Activation,
    return_sequences: bool = False,
    go_backwards: bool = False,
    unroll: bool = False,
) -> Outcome:
    """An LSTM over [batch, time, in]: the last output, outputs (only that one unless `return_sequences`), both states.

    Raises:
        NotImplementedError: steps are masked or written out: Keras then runs its cell in `rnn`.
    """
    outcome = _layer(
        nn.lstm,
        inputs,
        (initial_state_h, initial_state_c),
        (kernel, recurrent_kernel, bias),
        mask,
        unroll,
        return_sequences,
        go_backwards,
        activation=activation,
        recurrent_activation=recurrent_activation,
    )
    return _processed(outcome, go_backwards)


def gru(
    inputs: Tensor,
    initial_state: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor | None,
    activation: Activation,
    recurrent_activation: Activation,
    return_sequences: bool = False,
    go_backwards: bool = False,
    unroll: bool = False,
    reset_after: bool = True,
) -> Outcome:
    """A GRU over [batch, time, in]: the last output, outputs (only that one unless `return_sequences`), the state.

    Raises:
        NotImplementedError: steps are masked or written out: Keras then runs its cell in `rnn`.
    """
    outcome = _layer(
        nn.gru,
        inputs,
        (initial_state,),
        (kernel, recurrent_kernel, bias),
        mask,
        unroll,
        return_sequences,
        go_backwards,
        activation=activation,
        recurrent_activation=recurrent_activation,
        reset_after=reset_after,
    )
    return _processed(outcome, go_backwards)


def bidirectional_lstm(
    inputs: Tensor,
    fwd_initial_state_h: Tensor,
    fwd_initial_state_c: Tensor,
    bwd_initial_state_h: Tensor,
    bwd_initial_state_c: Tensor,
    mask: Tensor | None,
    fwd_kernel: Tensor,
    fwd_recurrent_kernel: Tensor,
    fwd_bias: Tensor | None,
    bwd_kernel: Tensor,
    bwd_recurrent_kernel: Tensor,
    bwd_bias: Tensor | None,
    activation: Activation,
    recurrent_activation: Activation,
    return_sequences: bool = False,
    unroll: bool = False,
) -> tuple[Outcome, Outcome]:
    """`lstm` in both directions, the outputs of both where their inputs are."""
    gates: dict[str, Any] = {"activation": activation, "recurrent_activation": recurrent_activation}
    steps = (mask, unroll, return_sequences)
    forward = (fwd_kernel, fwd_recurrent_kernel, fwd_bias)
    backward = (bwd_kernel, bwd_recurrent_kernel, bwd_bias)
    return (
        _layer(nn.lstm, inputs, (fwd_initial_state_h, fwd_initial_state_c), forward, *steps, False, **gates),
        _layer(nn.lstm, inputs, (bwd_initial_state_h, bwd_initial_state_c), backward, *steps, True, **gates),
    )


def bidirectional_gru(
    inputs: Tensor,
    fwd_initial_state: Tensor,
    bwd_initial_state: Tensor,
    mask: Tensor | None,
    fwd_kernel: Tensor,
    fwd_recurrent_kernel: Tensor,
    fwd_bias: Tensor | None,
    bwd_kernel: Tensor,
    bwd_recurrent_kernel: Tensor,
    bwd_bias: Tensor | None,
    activation: Activation,
    recurrent_activation: Activation,
    return_sequences: bool = False,
    unroll: bool = False,
    reset_after: bool = True,
) -> tuple[Outcome, Outcome]:
    """`gru` in both directions, the outputs of both where their inputs are."""
    gates: dict[str, Any] = {
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "reset_after": reset_after,
    }
    steps = (mask, unroll, return_sequences)
    forward = (fwd_kernel, fwd_recurrent_kernel, fwd_bias)
    backward = (bwd_kernel, bwd_recurrent_kernel, bwd_bias)
    return (
        _layer(nn.gru, inputs, (fwd_initial_state,), forward, *steps, False, **gates),
        _layer(nn.gru, inputs, (bwd_initial_state,), backward, *steps, True, **gates),
    )
