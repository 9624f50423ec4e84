"""Connectionist temporal classification."""

from __future__ import annotations

from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = ["ctc_decode", "ctc_loss"]


def _wide(logits: Tensor) -> Tensor:
    """Floats of 32 bits at least."""
    logits = convert_to_tensor(logits)
    return logits if logits.dtype == "float64" else cast(logits, "float32")


def ctc_loss(
    target: Tensor, output: Tensor, target_length: Tensor, output_length: Tensor, mask_index: int = 0
) -> Tensor:
    """-log P(target | output), one a sequence: logits [batch, time, classes], labels [batch, longest]."""
    target, target_length, output_length = (
        convert_to_tensor(x, dtype="int32") for x in (target, target_length, output_length)
    )
    return nn.ctc(
        _wide(output),
        target,
        logit_lengths=output_length,
        label_lengths=target_length,
        blank=mask_index,
        reduction="none",
    )


def ctc_decode(
    inputs: Tensor,
    sequence_lengths: Tensor,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int | None = 0,
) -> tuple[Tensor, Tensor]:
    """The likeliest labels [paths, batch, time], filled with -1, and their scores [batch, paths].

    Scores are log-probabilities for "beam_search", and for "greedy" the negative sum of the logits along the path.
    """
    logits, lengths = _wide(inputs), convert_to_tensor(sequence_lengths, dtype="int32")
    blank = logits.shape[-1] - 1 if mask_index is None else mask_index
    match strategy:
        case "greedy":
            labels, scores = nn.ctc_greedy(logits, lengths, blank=blank, merge_repeated=merge_repeated)
            return tnp.expand_dims(labels, 0), -tnp.expand_dims(scores, 1)
        case "beam_search":
            paths, scores = nn.ctc_beam_search(logits, lengths, width=beam_width, paths=top_paths, blank=blank)
            return tnp.swapaxes(paths, 0, 1), scores
    raise ValueError(f"Invalid strategy {strategy!r}: ctc_decode has 'greedy' and 'beam_search'")
