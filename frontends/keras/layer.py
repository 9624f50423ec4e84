"""What all layers derive from."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from keras.src import tree


@functools.cache
def _data_layer() -> type:
    from keras.src.layers.preprocessing.data_layer import DataLayer  # which derives from `Layer`

    return DataLayer  # type: ignore[no-any-return]


class Layer:
    """Between Keras's `Layer` and its `Operation`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer.

        Those that augment data may write into what they get, as if tensors could not be written to: they get copies of
        arrays, so that those of the caller stay as they are.
        """
        if isinstance(self, _data_layer()):
            args, kwargs = tree.map_structure(lambda x: x.copy() if isinstance(x, np.ndarray) else x, (args, kwargs))
        return super().__call__(*args, **kwargs)  # type: ignore[misc]
