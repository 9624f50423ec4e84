"""Matrix products, sums of products, determinants."""

from __future__ import annotations

from tgc import numpy as tnp
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Tensor


@converts("MatMul")
def matmul(a: Tensor, b: Tensor, /) -> Tensor:
    """ONNX MatMul, which is NumPy's."""
    return tnp.matmul(a, b)


@converts("Gemm")
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    /,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 0,
) -> Tensor:
    """ONNX Gemm: alpha * a b + beta * c, either matrix transposed if asked for; integers stay integers.

    `c` is always broadcast, which had to be asked for until opset 6.
    """
    y = tnp.matmul(a.T if transA else a, b.T if transB else b)
    y = y if alpha == 1 else tnp.multiply(y, alpha)
    if c is not None:
        y = tnp.add(y, c if beta == 1 else tnp.multiply(c, beta))
    return tnp.astype(y, a.dtype)


@converts("Einsum", since=12)
def einsum(*inputs: Tensor, equation: str) -> Tensor:
    """ONNX Einsum."""
    return tnp.einsum(equation, *inputs)


@converts("Det", since=11)
def det(x: Tensor, /) -> Tensor:
    """ONNX Det, of each of the matrices in the last two axes."""
    return tnp.linalg.det(x)
