"""`Variable`: Keras's variables, whose values are NumPy arrays, or tracers in a stateless scope."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import Variable as KerasVariable

from tgc import numpy as tnp
from tgc.errors import ConcretizationError
from tgc.frontends.keras.ops.tensors import Tensor, convert_to_tensor
from tgc.ir import recorder
from tgc.trace import Tracer


class Variable(KerasVariable):  # type: ignore[misc]
    """A variable, whose array compiled programs update in place.

    Whoever has been given the array keeps it as it was: the programs then go on with a copy, made once.
    """

    __array_priority__ = 1000  # arrays leave operators to it, since the value may be traced
    _array: np.ndarray | None = None
    _given = False  # whether the array has been handed out since it became ours

    @property
    def _value(self) -> np.ndarray | None:
        self._given = True
        return self._array

    @_value.setter
    def _value(self, value: Any) -> None:
        self._array = None if value is None else np.array(value, dtype=self._dtype, order="C")
        self._given = False

    def to_update(self) -> np.ndarray:
        """The array, to be updated in place."""
        if self._given:
            self._value = self._array
        assert self._array is not None, f"{self.path} has no value"
        return self._array

    def to_read(self) -> np.ndarray:
        """The array, to be read before anything updates it."""
        assert self._array is not None, f"{self.path} has no value"
        return self._array

    @property
    def value(self) -> Tensor:
        """The array; in a stateless scope what that holds for the variable, and a stand-in where only shapes count."""
        if recorder() is not None and in_symbolic_scope() and get_stateless_scope().get_current_value(self) is None:
            return self._maybe_autocast(tnp.zeros(self._shape, dtype=np.dtype(self._dtype)))
        return super().value

    def _initialize(self, value: Any) -> None:
        self._value = value

    def _direct_assign(self, value: Any) -> None:
        if isinstance(value, Tracer):
            raise ConcretizationError(
                f"the variable {self.path} is assigned {value!r}{value.origin}, which has no numbers while tracing: "
                "trace in a `keras.StatelessScope`, as `stateless_call` does, and return what it holds for the variable"
            )
        self._value = value

    def _convert_to_tensor(self, value: Any, dtype: Any = None) -> Tensor:
        return convert_to_tensor(value, dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=copy)
