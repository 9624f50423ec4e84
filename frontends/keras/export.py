"""Models of Keras as graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.export.export_utils import get_input_signature

from tgc.ir import Graph
from tgc.trace import trace
from tgc.types import tensor_type


def from_keras(model: Any, batch: int = 1, shapes: Any = None) -> Graph:
    """The graph of what a built model infers: its inputs are the model's, in order, its weights are constants.

    Args:
        model: a `keras.Model` that is built, and if it is of a class of its own, has been called.
        batch: stands for sizes of first axes that the model leaves open.
        shapes: the shapes of the inputs, in the structure of these, where the model leaves other sizes open.

    Raises:
        TypeError: it is no `keras.Model`.
        ValueError: it is not built, or a size is open.
    """
    arguments = get_input_signature(model)
    specs = tree.flatten(arguments)
    given = [spec.shape for spec in specs]
    if shapes is not None:
        given.clear()
        tree.map_structure_up_to(arguments, lambda shape: given.append(tuple(shape)), [shapes])
    types, names = [], []
    for k, (spec, sizes) in enumerate(zip(specs, given, strict=True)):
        bound = [batch if axis == 0 and n is None else n for axis, n in enumerate(sizes)]
        if None in bound:
            raise ValueError(f"from_keras: input {spec.name or k} has the shape {tuple(sizes)}: give `shapes`")
        types.append(tensor_type(np.dtype(spec.dtype or model.compute_dtype), bound))
        names.append(spec.name or f"x{k}")
    kwargs = {"training": False} if model._call_has_training_arg else {}

    def infer(*tensors: Any) -> list[Any]:
        with StatelessScope():
            return list(tree.flatten(model(*tree.pack_sequence_as(arguments, list(tensors)), **kwargs)))

    return trace(infer, types, names, model.name)


class ExportArchive:
    """In the place of the archives in which other backends export models."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "`export_saved_model` only currently supports the tensorflow, jax and torch backends. With tgc, "
            "`tgc.frontends.keras.from_keras(model)` gives the model's graph; or save the model as a .keras file, "
            "which Keras on each of these backends loads and exports"
        )
