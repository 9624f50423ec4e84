"""`.keras` files, for tgc's commands."""

from __future__ import annotations

from collections.abc import Mapping

import tgc.frontends.keras as backend  # selects the backend, so it comes before Keras
from tgc.ir import Graph


def read_model(path: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Graph, list[str]]:
    """What the model of a `.keras` file infers, and the names of its results, if they have any.

    Args:
        path: of the file.
        shapes: of inputs, by name (x0, x1, ... where they have none), where sizes are open; the first axis is 1 unless
            it is said here.

    Raises:
        ValueError: the file is no model, or a size is open.
    """
    import keras
    from keras import tree
    from keras.src.export.export_utils import get_input_signature

    model = keras.saving.load_model(path, compile=False)
    [arguments] = get_input_signature(model)
    given = [shapes.get(spec.name or f"x{k}", spec.shape) for k, spec in enumerate(tree.flatten(arguments))]
    graph = backend.from_keras(model, shapes=tree.pack_sequence_as(arguments, given))
    return graph, list(getattr(model, "output_names", ()))  # which only functional models have
