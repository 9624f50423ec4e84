"""What is made of sums of quantized models: the numbers that ONNX Runtime's fused kernels make, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_onnx_quantized import Model, simplified

from tgc.interpret import interpret


def fused_multiply_add(x: np.ndarray, y: Any, z: Any) -> np.ndarray:
    """float32 of x * y + z, which float64 holds for 8-bit x and numbers of like size."""
    return (x.astype(np.float64) * y + z).astype(np.float32)


@pytest.mark.parametrize("zero", [np.uint8(30), np.int8(-5)], ids=repr)
@pytest.mark.parametrize("op", ["Conv", "MatMul", "Gemm"])
def test_sums_are_multiplied_by_ratios_of_scales(op: str, zero: Any) -> None:
    """In float32 and in the order of ONNX Runtime's QLinearConv and QGemm, which decides at ties."""
    rng = np.random.default_rng(0)
    rows, columns, axis = 20, 300, 0 if op == "Conv" else 1
    x = np.arange(rows)[:, None] - 7  # less its zero point
    w = rng.integers(20, 128, columns)
    bias = rng.integers(0, 500, columns) * (op != "MatMul")
    sums = x * w + bias
    x_scale, y_scale = np.float32(0.0371), np.float32(0.113)
    halfway = rng.integers(0, 99, columns) + 0.5  # what sums of one row are in units of y_scale, or next to it
    w_scale = (halfway * np.float64(y_scale) / (np.float64(x_scale) * sums[-1])).astype(np.float32)
    m = Model(rows, 1, *(1,) * (op == "Conv"))
    integers = w.astype(np.int8).reshape((columns, 1, 1) if op == "Conv" else (1, columns))
    operands = [m.quantized("x", zero, x_scale), m.weights(integers, w_scale, np.zeros(columns, np.int8), axis)]
    if op != "MatMul":
        operands.append(m.weights(bias.astype(np.int32), x_scale * w_scale, np.zeros(columns, np.int32)))
    y = m.node("QuantizeLinear", m.node(op, *operands), m.constant(y_scale), m.constant(zero))
    graph = simplified(m.made(y))
    (found,) = interpret(graph, (x * x_scale).astype(np.float32).reshape(graph.inputs[0].shape))
    exact = (np.float64(x_scale) * w_scale / y_scale).astype(np.float32)  # often a neighbour
    want, other = (
        np.clip(np.rint(sums.astype(np.float32) * ratio) + zero, np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max)
        for ratio in (x_scale * w_scale / y_scale, exact)
    )
    np.testing.assert_array_equal(found.reshape(sums.shape), want)
    assert (want != other).any()


@pytest.mark.parametrize("zeros", [(9, 30, 5), (100, 7, 3), (255, 0, 128)])
def test_sums_of_two_scales_are_rounded_once(zeros: tuple[int, int, int]) -> None:
    """As ONNX Runtime's QLinearAdd, with the zero points in the sum and fused multiply-adds."""
    codes = [v.ravel().astype(np.uint8) for v in np.meshgrid(np.arange(256), np.arange(256))]
    a_zero, b_zero, y_zero = map(np.uint8, zeros)
    differ = 0
    for last in range(-3, 4):  # ratios about 1/2: half of all sums are ties but for what is rounded
        scales = np.float32(0.05), np.float32(0.05 * (1 + last * 2.0**-23)), np.float32(0.1)
        m = Model(2, len(codes[0]))
        pairs = [(m.constant(s), m.constant(z)) for s, z in zip(scales, (a_zero, b_zero, y_zero), strict=True)]
        halves = m.node("Split", m.node("QuantizeLinear", "x", *pairs[0]), outputs=2, axis=0, num_outputs=2)
        a, b = (m.node("DequantizeLinear", half, *pair) for half, pair in zip(halves, pairs[:2], strict=True))
        graph = simplified(m.made(m.node("QuantizeLinear", m.node("Add", a, b), *pairs[2])))
        x = (np.stack(codes).astype(np.float32) - np.float32(a_zero)) * scales[0]
        (found,) = interpret(graph, x)
        ratios = scales[0] / scales[2], scales[1] / scales[2]
        shift = fused_multiply_add(a_zero, ratios[0], np.float32(b_zero) * ratios[1])
        y = fused_multiply_add(codes[1], ratios[1], np.float32(y_zero) - shift)
        want = np.clip(np.rint(fused_multiply_add(codes[0], ratios[0], y)), 0, 255)
        np.testing.assert_array_equal(found[0], want)
        y = codes[0] * ratios[0] + codes[1] * ratios[1] - shift  # each operation by itself
        differ += (np.clip(np.rint(y) + y_zero, 0, 255) != want).sum()
    assert differ
