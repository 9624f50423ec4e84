"""What rules share: kinds of values, dtypes by ONNX's numbers, axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import optree

from tgc.sizes import is_size

Tensor: TypeAlias = Any  # a traced tensor, or a NumPy array that is known
Array: TypeAlias = np.ndarray  # known when the rule is applied


class Sequence(tuple[Any, ...]):
    """A value of ONNX's type sequence: tensors. Rules return it as one output, whereas plain tuples are several."""

    __slots__ = ()


optree.register_pytree_node(
    Sequence,
    lambda s: (tuple(s), None),
    lambda _, items: Sequence(items),
    namespace=optree.registry.__GLOBAL_NAMESPACE,
)


def objects(items: Iterable[Any], shape: tuple[int, ...]) -> Array:
    """An array of objects that are left as they are: `np.array` would make plain numbers of sizes."""
    listed = list(items)
    return np.fromiter(listed, object, len(listed)).reshape(shape)


def vector(numbers: Iterable[int]) -> Array:
    """int64 of integers; an array of objects where there are sizes that are symbols (`tgc.sizes`)."""
    listed = list(numbers)
    return objects(listed, (len(listed),)) if any(map(is_size, listed)) else np.array(listed, np.int64)
