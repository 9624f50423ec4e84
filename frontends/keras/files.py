"""`.keras` files, for tgc's commands."""

from __future__ import annotations

from collections.abc import Mapping

import tgc.frontends.keras as backend  # selects the backend, so it comes before Keras
from tgc.ir import Graph


def read_model(path: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Graph, list[str]]:
    """What the model of a `.keras` file infers, and the names of its results.

    Args:
        path: of the file.
        shapes: of inputs, by name, where sizes are open; the first axis is 1 unless it is said here.

    Raises:
        ValueError: the file is no model, or a size is open.
    """
    import keras
    from keras import tree

    model = keras.saving.load_model(path, compile=False)
    specs = tree.map_structure(lambda x: shapes.get(x.name, x.shape), model.input)
    graph = backend.from_keras(model, shapes=specs)
    return graph, list(model.output_names)
