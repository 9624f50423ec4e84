"""`Variable`: Keras's variables, whose values are NumPy arrays, or tracers in a stateless scope."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import Variable as KerasVariable

from tgc import numpy as tnp
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.ir import recorder


class Variable(KerasVariable):  # type: ignore[misc]
    """A variable that owns its array."""

    def _initialize(self, value: Any) -> None:
        self._value = np.array(value, dtype=self._dtype)

    def _direct_assign(self, value: Any) -> None:
        self._value = np.array(value, dtype=self._dtype)

    def _convert_to_tensor(self, value: Any, dtype: Any = None) -> Tensor:
        return convert_to_tensor(value, dtype)

    @property
    def value(self) -> Tensor:
        """The array; in a stateless scope what it holds for the variable, where only shapes count a stand-in."""
        if recorder() is not None and in_symbolic_scope() and get_stateless_scope().get_current_value(self) is None:
            return self._maybe_autocast(tnp.zeros(self._shape, dtype=np.dtype(self._dtype)))
        return super().value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)
