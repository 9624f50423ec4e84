"""NumPy, for what it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.workloads.base import Inputs, Program, Variant, stateless


class Ops:
    """The vocabulary, in part."""

    tanh, exp = np.tanh, np.exp

    def sigmoid(self, x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def softmax(self, x: Any) -> Any:
        weights = np.exp(x - x.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    def matmul(self, x: Any, y: Any, tx: bool = False, ty: bool = False) -> Any:
        return (x.mT if tx else x) @ (y.mT if ty else y)


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Op by op."""
    return {"numpy": stateless(lambda: program.function(Ops(), {}, **inputs))}
