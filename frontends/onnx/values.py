"""What rules share: kinds of values, dtypes by ONNX's numbers, axes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Tensor: TypeAlias = Any  # a traced tensor, or a NumPy array that is known
Array: TypeAlias = np.ndarray  # known when the rule is applied
