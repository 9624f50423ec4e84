"""`Variable`: Keras's variables, whose values are NumPy arrays, or tracers in a stateless scope."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend.common.variables import Variable as KerasVariable

from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor


class Variable(KerasVariable):  # type: ignore[misc]
    """A variable that owns its array."""

    def _initialize(self, value: Any) -> None:
        self._value = np.array(value, dtype=self._dtype)

    def _direct_assign(self, value: Any) -> None:
        self._value = np.array(value, dtype=self._dtype)

    def _convert_to_tensor(self, value: Any, dtype: Any = None) -> Tensor:
        return convert_to_tensor(value, dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)
