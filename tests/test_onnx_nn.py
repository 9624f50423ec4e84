"""Layers of ONNX models: what ONNX's own backend tests do not cover. References are NumPy's, or `onnx.reference`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tgc
from tgc import nn
from tgc.frontends.onnx import formats, load
from tgc.frontends.onnx.errors import OnnxError

RNG = np.random.default_rng(0)


def real(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def model(
    op: str, inputs: Sequence[np.ndarray | None], opset: int, outputs: int = 1, sizes: Any = None, **attrs: Any
) -> ModelProto:
    """A node alone; sizes of its operands are open where `sizes` has no number."""
    names = ["" if x is None else f"x{k}" for k, x in enumerate(inputs)]
    made = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(op, names, made, "layer", **attrs)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), sizes or x.shape)
        for n, x in zip(names, inputs, strict=True)
        if x is not None
    ]
    results = [helper.make_empty_tensor_value_info(n) for n in made]
    graph = helper.make_graph([node], "graph", infos, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(op: str, *inputs: np.ndarray | None, opset: int, outputs: int = 1, **attrs: Any) -> Any:
    """What tgc makes of a node."""
    return load(model(op, inputs, opset, outputs, **attrs))(*(x for x in inputs if x is not None))


def reference(op: str, *inputs: np.ndarray | None, opset: int, outputs: int = 1, **attrs: Any) -> Any:
    """What ONNX's own evaluator makes of it."""
    feeds = {f"x{k}": x for k, x in enumerate(inputs) if x is not None}
    made = ReferenceEvaluator(model(op, inputs, opset, outputs, **attrs)).run(None, feeds)
    return made[0] if outputs == 1 else made


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    got, want = ([x] if isinstance(x, np.ndarray) else list(x) for x in (got, want))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance)


# ------------------------------------------------------------------------------------------------------- older forms


def test_batch_normalization_before_it_had_a_training_mode() -> None:
    x, scale, bias, mean, var = real(2, 3, 4), real(3), real(3), real(3), np.abs(real(3)) + 0.5
    want = reference("BatchNormalization", x, scale, bias, mean, var, opset=15)
    for opset, attrs in ((7, {"spatial": 1}), (9, {}), (14, {})):
        close(run("BatchNormalization", x, scale, bias, mean, var, opset=opset, **attrs), want)
    features = [real(3, 4) for _ in range(3)]
    got = run("BatchNormalization", x, *features, np.ones((3, 4), np.float32), opset=7, spatial=0, epsilon=0.0)
    close(got, (x - features[2]) * features[0] + features[1])
    got = run("BatchNormalization", x, scale, bias, mean, var, opset=9, outputs=5, momentum=0.7)
    own = x.mean((0, 2)), x.var((0, 2))
    distance = (x - own[0][:, None]) / np.sqrt(own[1] + 1e-5)[:, None]
    running = [old * np.float32(0.7) + new * np.float32(0.3) for old, new in zip((mean, var), own, strict=True)]
    close(got, [distance * scale[:, None] + bias[:, None], *running, *own], 1e-4)
    trained = run("BatchNormalization", x, scale, bias, mean, var, opset=15, outputs=3, momentum=0.7, training_mode=1)
    close(trained, got[:3])


def test_upsampling_by_scales() -> None:
    x, scales = real(1, 2, 3, 4), np.array([1, 1, 2, 3], np.float32)
    nearest = x.repeat(2, 2).repeat(3, 3)
    close(run("Upsample", x, opset=7, scales=scales.tolist()), nearest)
    close(run("Upsample", x, scales, opset=9, mode="nearest"), nearest)
    close(run("Resize", x, scales, opset=10), nearest)
    places = np.arange(12) / 3, np.arange(6) / 2  # those of pixels without half of one, and the last one beyond
    rows = np.stack([np.interp(places[0], np.arange(4), row) for row in x.reshape(-1, 4)]).reshape(1, 2, 3, 12)
    columns = rows.swapaxes(2, 3).reshape(-1, 3)
    want = np.stack([np.interp(places[1], np.arange(3), c) for c in columns]).reshape(1, 2, 12, 6).swapaxes(2, 3)
    for op, opset in (("Upsample", 9), ("Resize", 10)):
        close(run(op, x, scales, opset=opset, mode="linear"), want.astype(np.float32))
    close(run("Upsample", x, opset=7, scales=scales.tolist(), mode="linear"), want.astype(np.float32))


@pytest.mark.parametrize("attrs", [
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"},
    {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.5, "exclude_outside": 1},
])  # fmt: skip
def test_resize_of_version_11(attrs: dict[str, Any]) -> None:
    x, empty = real(1, 2, 5, 4), np.zeros(0, np.float32)
    for scales in ([1, 1, 1.7, 0.6], [1, 1, 0.5, 2]):
        given = x, empty, np.array(scales, np.float32)
        close(run("Resize", *given, opset=11, **attrs), reference("Resize", *given, opset=13, **attrs))
    sized = x, empty, empty, np.array([1, 2, 7, 3])
    close(run("Resize", *sized, opset=11, **attrs), reference("Resize", x, None, None, sized[3], opset=13, **attrs))


def test_nearest_pixels_as_tensorflow_once_had_them() -> None:
    x = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    attrs = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    got = run("Resize", x, np.zeros(0, np.float32), np.array([1, 1, 0.6], np.float32), opset=11, **attrs)
    assert got.ravel().tolist() == [0, 2, 4]


def test_other_older_forms() -> None:
    x = real(2, 4, 5, 5)
    pool = {"kernel_shape": [2, 3], "pads": [0, 1, 1, 1], "count_include_pad": 1}
    close(run("AveragePool", x, opset=7, **pool), reference("AveragePool", x, opset=22, **pool))
    scale, bias = real(2), real(2)
    got = run("GroupNormalization", x, scale, bias, opset=18, num_groups=2)
    close(got, reference("GroupNormalization", x, scale.repeat(2), bias.repeat(2), opset=21, num_groups=2))
    signal = real(2, 8, 3, 1)
    got = run("DFT", signal, opset=17, axis=1, onesided=1)
    spectrum = np.fft.rfft(signal[..., 0], axis=1)
    close(got, np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32))
    rois, images = np.array([[0, 0, 4, 4], [1, 0, 3, 4]], np.float32), np.array([0, 1])
    attrs = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    modern = {**attrs, "coordinate_transformation_mode": "output_half_pixel"}
    close(run("RoiAlign", x, rois, images, opset=10, **attrs), run("RoiAlign", x, rois, images, opset=16, **modern))


# -------------------------------------------------------------------------------------------------------- recurrence


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_step(z: np.ndarray, h: np.ndarray, c: np.ndarray, p: np.ndarray, coupled: bool) -> tuple[np.ndarray, ...]:
    i, o, f, g = np.split(z, 4, -1)
    pi, po, pf = np.split(p, 3)
    i = sigmoid(i + pi * c)
    f = 1 - i if coupled else sigmoid(f + pf * c)
    c = f * c + i * np.tanh(g)
    return sigmoid(o + po * c) * np.tanh(c), c


@pytest.mark.parametrize(("layout", "coupled", "clip"), [(0, False, None), (1, True, 0.4)])
def test_lstm_with_lengths_peepholes_and_two_directions(layout: int, coupled: bool, clip: float | None) -> None:
    time, batch, n, units = 5, 3, 2, 4
    x, w, r, b = real(time, batch, n), real(2, 4 * units, n), real(2, 4 * units, units), real(2, 8 * units)
    h0, c0, p = real(2, batch, units), real(2, batch, units), real(2, 3 * units)
    lengths = np.array([5, 2, 4], np.int32)
    want, last = np.zeros((time, 2, batch, units)), np.zeros((2, 2, batch, units))
    limit = (lambda v: v) if clip is None else (lambda v: np.clip(v, -clip, clip))
    for k in range(2):
        for e in range(batch):
            h, c = h0[k, e], c0[k, e]
            for t in range(lengths[e])[:: -1 if k else 1]:
                z = limit(w[k] @ x[t, e] + r[k] @ h + b[k, : 4 * units] + b[k, 4 * units :])
                if clip is None:
                    h, c = lstm_step(z, h, c, p[k], coupled)
                else:  # what is clipped is what activations are given; peepholes are left out, the cell is clipped too
                    i, o, _, g = np.split(z, 4, -1)
                    i = sigmoid(i)
                    c = (1 - i) * c + i * np.tanh(g)
                    h = sigmoid(o) * np.tanh(limit(c))
                want[t, k, e] = h
            last[:, k, e] = h, c
    given = [x, w, r, b, lengths, h0, c0, p if clip is None else None]
    if layout:
        given[0], given[5], given[6] = (v.swapaxes(0, 1) for v in (x, h0, c0))
        want, last = want.transpose(2, 0, 1, 3), last.swapaxes(1, 2)
    attrs = {"direction": "bidirectional", "hidden_size": units, "layout": layout, "input_forget": int(coupled)}
    attrs |= {} if clip is None else {"clip": clip}
    got = run("LSTM", *given, opset=14, outputs=3, **attrs)
    close(got, [v.astype(np.float32) for v in (want, *last)], 1e-4)


@pytest.mark.parametrize("before_reset", [0, 1])
def test_gru_backwards_with_lengths(before_reset: int) -> None:
    time, batch, n, units = 4, 2, 3, 2
    x, w, r, b = real(time, batch, n), real(1, 3 * units, n), real(1, 3 * units, units), real(1, 6 * units)
    lengths, want = np.array([4, 3], np.int32), np.zeros((time, 1, batch, units), np.float32)
    for e in range(batch):
        h = np.zeros(units)
        for t in reversed(range(lengths[e])):
            zx, zh = w[0] @ x[t, e] + b[0, : 3 * units], r[0] @ h + b[0, 3 * units :]
            update, reset = np.split(sigmoid(zx[: 2 * units] + zh[: 2 * units]), 2)
            inner = reset * zh[2 * units :] if before_reset else r[0, 2 * units :] @ (reset * h) + b[0, 5 * units :]
            h = update * h + (1 - update) * np.tanh(zx[2 * units :] + inner)
            want[t, 0, e] = h
    attrs = {"direction": "reverse", "linear_before_reset": before_reset}
    got = run("GRU", x, w, r, b, lengths, opset=7, outputs=2, **attrs)
    close(got, [want, want[0]])


def test_activations_take_parameters_in_turn() -> None:
    x, w, r = real(3, 2, 4), real(2, 3, 4), real(2, 3, 3)
    got = run("RNN", x, w, r, opset=14, direction="bidirectional", activations=["LeakyRelu", "ScaledTanh"],
              activation_alpha=[0.3, 1.5], activation_beta=[0.5])  # fmt: skip
    functions = (lambda v: np.where(v >= 0, v, 0.3 * v)), (lambda v: 1.5 * np.tanh(0.5 * v))
    for k, f in enumerate(functions):
        h = np.zeros((2, 3))
        for t in range(3)[:: -1 if k else 1]:
            h = f(x[t] @ w[k].T + h @ r[k].T)
            np.testing.assert_allclose(got[t, k], h, 1e-5, 1e-6)


# ----------------------------------------------------------------------------------------------------- small formats


@pytest.mark.parametrize("dtype", formats.FORMATS)
def test_small_formats_are_read_exactly_and_written_to_the_nearest(dtype: Any) -> None:
    form = formats.FORMATS[dtype]
    x = np.arange(2**form.bits, dtype=np.uint8).view(dtype)
    elem = helper.np_dtype_to_tensor_dtype(dtype)
    np.testing.assert_array_equal(run("Cast", x, opset=28, to=TensorProto.FLOAT), x.astype(np.float32))
    if form.integer:
        low, high = form.limits
        values = np.arange(low - 20, high + 20, dtype=np.int32)
        np.testing.assert_array_equal(run("Cast", values, opset=28, to=elem), values.astype(dtype))
        return
    finite = np.sort(form.magnitudes)
    values = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2, RNG.exponential(finite[len(finite) // 2], 99)])
    for wide in (np.float64, np.float32):
        given = values.astype(wide)
        got = run("Cast", given, opset=28, to=elem, **({} if form.signed else {"round_mode": "nearest"}))
        assert got.dtype == dtype
        if form.signed:
            want = np.minimum(given, finite[-1].astype(wide)).astype(dtype)
            np.testing.assert_array_equal(got.astype(wide), want.astype(wide))
            back = run("Cast", -given, opset=28, to=elem)
            np.testing.assert_array_equal(back.astype(wide), -got.astype(wide))
        else:
            mantissa, exponent = np.frexp(given.astype(np.float64))
            want = 2.0 ** np.clip(exponent - (mantissa < 0.75), -127, 127)  # ties, 1.5 * 2**k, go up
            np.testing.assert_array_equal(got.astype(np.float64), want)


def test_floats_beyond_the_range() -> None:
    x = np.array([1e9, -1e9, np.inf, -np.inf, np.nan, -0.0], np.float32)
    for name, largest in (("FLOAT8E4M3FNUZ", 240.0), ("FLOAT8E5M2", 57344.0), ("FLOAT8E4M3FN", 448.0)):
        elem = getattr(TensorProto, name)
        got = run("Cast", x, opset=23, to=elem).astype(np.float32)
        np.testing.assert_array_equal(got, [largest, -largest, largest, -largest, np.nan, 0])
        loose = run("Cast", x, opset=23, to=elem, saturate=0).astype(np.float32)
        beyond = np.inf if name == "FLOAT8E5M2" else np.nan
        np.testing.assert_array_equal(loose, [beyond, -beyond, beyond, -beyond, np.nan, 0])


def test_codes_are_moved_and_computed_with() -> None:
    """Weights in 4 bits with a scale for each block, transposed between quantization and its inverse."""
    x, scale = real(6, 4), np.full((3, 4), 0.25, np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], axis=0, block_size=2, output_dtype=TensorProto.INT4),
        helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0]),
        helper.make_node("Slice", ["t", "one", "end"], ["part"]),
        helper.make_node("Transpose", ["s"], ["st"], perm=[1, 0]),
        helper.make_node("Slice", ["st", "one", "end"], ["spart"]),
        helper.make_node("DequantizeLinear", ["part", "spart"], ["y"], axis=1, block_size=2),
    ]
    constants = [numpy_helper.from_array(np.array([n]), name) for n, name in ((1, "one"), (4, "end"))]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in (("x", x), ("s", scale))]
    results = [
        helper.make_tensor_value_info("part", TensorProto.INT4, (3, 6)),
        helper.make_empty_tensor_value_info("y"),
    ]
    graph = helper.make_graph(nodes, "graph", infos, results, constants)
    codes, y = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]))(x, scale)
    want = np.clip(np.rint(x / 0.25), -8, 7).T[1:]
    assert codes.dtype == ml_dtypes.int4
    np.testing.assert_array_equal(codes.astype(np.float32), want)
    np.testing.assert_array_equal(y, want * np.float32(0.25))


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(("op", "inputs", "opset", "attrs", "message"), [
    ("Conv", [real(1, 1, 4), real(1, 1, 2)], 22, {"pads": [1]}, "pads (1,) are not two numbers for each of 1"),
    ("Conv", [real(1, 1, 4), real(1, 1, 2)], 22, {"auto_pad": "SAME"}, "SAME_UPPER or SAME_LOWER, not SAME"),
    ("Conv", [real(1, 3, 4), real(1, 1, 2)], 22, {"group": 2}, "conv"),
    ("MaxPool", [real(1, 1, 4)], 22, {"kernel_shape": [2, 2]}, "kernel_shape (2, 2) is not a positive number"),
    ("RNN", [real(2, 1, 3), real(1, 2, 3), real(1, 2, 2)], 14, {"activations": ["Cosh"]}, "no activation Cosh"),
    ("LSTM", [real(2, 1, 3), real(1, 8, 3), real(1, 8, 2)], 14, {"direction": "bidirectional"}, "do not fit weights"),
    ("Resize", [real(2, 3)], 19, {}, "needs scales or sizes of 2 axes"),
    ("DequantizeLinear", [np.ones((2, 3), np.int8), real(2)], 23, {"axis": 1}, "2 scales do not fit axis 1"),
    ("Attention", [real(1, 2, 6)] * 3, 24, {"q_num_heads": 4, "kv_num_heads": 4}, "cannot be divided into 4 heads"),
    ("LinearAttention", [real(1, 2, 4)] * 3, 27, {"q_num_heads": 2, "kv_num_heads": 2}, "does not fit the operands"),
])  # fmt: skip
def test_errors_name_the_node(op: str, inputs: list[Any], opset: int, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(OnnxError, match=re.escape(message)) as raised:
        run(op, *inputs, opset=opset, outputs=2 if op == "LinearAttention" else 1, **attrs)
    said = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
    assert "layer" in said or "y0" in said
    assert op in said


# -------------------------------------------------------------------------------------------- open sizes, gradients


def test_one_model_for_several_batches() -> None:
    q = real(2, 4, 5, 8)
    attention = load(model("Attention", [q, q, q], 24, sizes=("batch", 4, "time", 8), is_causal=1))
    rnn = load(model("GRU", [real(3, 2, 4), real(1, 6, 4), real(1, 6, 2)], 14, sizes=("a", "b", "c")))
    w, r = real(1, 6, 4), real(1, 6, 2)
    for batch, time in ((2, 5), (3, 7), (1, 1)):
        q, k, v = (real(batch, 4, time, 8) for _ in range(3))
        close(attention(q, k, v), reference("Attention", q, k, v, opset=24, is_causal=1), 1e-4)
        x = real(time, batch, 4)
        close(rnn(x, w, r), reference("GRU", x, w, r, opset=14), 1e-4)


def slope(f: Any, weights: dict[str, np.ndarray]) -> None:
    """Compare the gradient of `f` of weights with central differences along a random direction."""
    _, grads = tgc.jit(tgc.value_and_grad(f))(weights)
    way = {name: RNG.standard_normal(w.shape) for name, w in weights.items()}
    at = [float(tgc.jit(f)({n: w + h * way[n] for n, w in weights.items()})) for h in (1e-6, -1e-6)]
    found = sum(float((grads[name] * way[name]).sum()) for name in weights)
    np.testing.assert_allclose(found, (at[0] - at[1]) / 2e-6, 1e-6)


def weighted(nodes: list[Any], x: np.ndarray, weights: dict[str, np.ndarray], output: str) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, x.shape)],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def test_gradients_of_a_cnn() -> None:
    def wide(*shape: int) -> np.ndarray:
        return real(*shape, dtype=np.float64)

    weights = {"w": wide(4, 3, 3, 3), "b": wide(4), "scale": wide(4), "shift": wide(4), "mean": wide(4),
               "var": np.abs(wide(4)) + 1, "d": wide(5, 4), "e": wide(5)}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "d", "e"], ["y"], transB=1),
    ]
    x, seed = wide(2, 3, 8, 8), wide(2, 5)
    imported = load(weighted(nodes, x, weights, "y"))

    def own(w: dict[str, Any]) -> Any:
        c = nn.conv(x, w["w"], w["b"], stride=2, padding=1, data_format="NCHW")
        n = nn.batch_norm(c, w["mean"], w["var"], w["scale"], w["shift"], axis=1)[0]
        p = nn.max_pool(nn.relu(n), 2, stride=1, data_format="NCHW")
        return (nn.dense(p.mean((2, 3)), w["d"].T, w["e"]) * seed).sum()

    def loss(w: dict[str, Any]) -> Any:
        return (imported.apply(w, x) * seed).sum()

    assert imported.weights.keys() == weights.keys()
    ours, theirs = (tgc.jit(tgc.grad(f))(imported.weights) for f in (loss, own))
    for name in weights:
        np.testing.assert_allclose(ours[name], theirs[name], 1e-9, 1e-12)
    slope(loss, imported.weights)


def test_gradients_of_an_lstm() -> None:
    weights = {name: real(*shape, dtype=np.float64) / 2 for name, shape in (
        ("w", (2, 12, 4)), ("r", (2, 12, 3)), ("b", (2, 24)), ("p", (2, 9)))}  # fmt: skip
    attrs = {"direction": "bidirectional", "hidden_size": 3}
    nodes = [helper.make_node("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], **attrs)]
    x, seed = real(5, 2, 4, dtype=np.float64), real(5, 2, 2, 3, dtype=np.float64)
    imported = load(weighted(nodes, x, weights, "y"))
    slope(lambda w: (imported.apply(w, x) * seed).sum(), imported.weights)
