"""TensorFlow: `tf.function`, with and without XLA; what Keras runs under `fit` and `predict`, less their loops."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from benchmarks.workloads.base import (
    BATCH_NORM,
    Arrays,
    Inputs,
    Program,
    Variant,
    adam,
    channels_last,
    differentiated,
    stateless,
    thread_count,
    trained,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras  # on TensorFlow
import tensorflow as tf  # quietly

tf.config.threading.set_intra_op_parallelism_threads(thread_count())
tf.config.threading.set_inter_op_parallelism_threads(1)


@cache
def _lstm(units: int, width: int) -> keras.layers.LSTM:
    """Keras's layer for inputs of that width, whose own variables remain unused."""
    with tf.init_scope():
        layer = keras.layers.LSTM(units, return_sequences=True)
        layer.build((None, None, width))
    return layer


class Ops:
    """The vocabulary."""

    relu, sigmoid, softmax = staticmethod(tf.nn.relu), staticmethod(tf.sigmoid), staticmethod(tf.nn.softmax)
    tanh, exp, embed = staticmethod(tf.tanh), staticmethod(tf.exp), staticmethod(tf.gather)
    reshape, transpose = staticmethod(tf.reshape), staticmethod(tf.transpose)

    def __init__(self, *, training: bool = False) -> None:
        self.training = training
        self.updates: dict[str, Any] = {}

    def first(self, x: Any, n: Any) -> Any:
        return x[:n]

    def gelu(self, x: Any) -> Any:
        return tf.nn.gelu(x, approximate=False)

    def matmul(self, x: Any, y: Any, tx: bool = False, ty: bool = False) -> Any:
        return tf.matmul(x, y, transpose_a=tx, transpose_b=ty)

    def dense(self, x: Any, w: Any, b: Any = None) -> Any:
        y = tf.tensordot(x, w, 1)
        return y if b is None else tf.nn.bias_add(y, b)

    def layer_norm(self, x: Any, scale: Any = None, bias: Any = None) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, bias, scale, 1e-5)

    def conv(self, x: Any, w: Any, b: Any = None, stride: int = 1, padding: int = 0) -> Any:
        y = tf.nn.conv2d(x, w, stride, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
        return y if b is None else tf.nn.bias_add(y, b)

    def max_pool(self, x: Any, size: int, stride: int, padding: int = 0) -> Any:
        if padding:
            pads = [[0, 0], [padding] * 2, [padding] * 2, [0, 0]]
            x = tf.pad(x, pads, constant_values=x.dtype.min)
        return tf.nn.max_pool2d(x, size, stride, "VALID")

    def mean_pixels(self, x: Any) -> Any:
        return tf.reduce_mean(x, [1, 2])

    def flatten(self, x: Any) -> Any:
        return tf.reshape(x, (x.shape[0], -1))

    def attention(self, q: Any, k: Any, v: Any, causal: bool = True) -> Any:
        scores = tf.matmul(q, k, transpose_b=True) / np.float32(np.sqrt(q.shape[-1]))
        scores = tf.where(np.tri(q.shape[-2], dtype=bool), scores, scores.dtype.min) if causal else scores
        return tf.matmul(tf.nn.softmax(scores), v)

    def lstm(self, x: Any, w: Any, u: Any, b: Any) -> Any:
        layer = _lstm(u.shape[0], x.shape[-1])
        weights = [tf.convert_to_tensor(y) for y in (w, u, b)]
        return layer.stateless_call(weights, layer.non_trainable_variables, x)[0]

    def batch_norm(self, x: Any, p: Any, name: str) -> Any:
        mean, variance, scale, bias = (p[f"{name}.{part}"] for part in ("mean", "variance", "scale", "bias"))
        y, *new = tf.compat.v1.nn.fused_batch_norm(
            x, scale, bias, mean, variance, BATCH_NORM["epsilon"], is_training=self.training,
            exponential_avg_factor=1 - BATCH_NORM["momentum"] if self.training else 1.0,
        )  # fmt: skip
        self.updates |= zip((f"{name}.mean", f"{name}.variance"), new, strict=True)
        return y

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


COMPILERS = {"graph": False, "xla": True}


def _native(program: Program, inputs: Inputs) -> dict[str, Any]:
    return {name: tf.constant(channels_last(inputs[name], t)) for name, t in program.tensors.items()}


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """The parameters are constants."""
    native = _native(program, inputs)
    p = {name: native[name] for name in program.parameters}
    data = [native[name] for name in program.data]

    def variant(xla: bool) -> Variant:
        compiled = tf.function(lambda *data: program(Ops(), p, *data), jit_compile=xla)
        return stateless(lambda: compiled(*data).numpy())

    return {name: variant(xla) for name, xla in COMPILERS.items()}


def gradients(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """The result and, from a tape, the gradients."""
    native = _native(program, inputs)
    cotangent = native.pop("cotangent")
    primals = [native[name] for name in program.differentiated]

    def variant(xla: bool) -> Variant:
        @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator]
        def both(primals: Any, cotangent: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(primals)
                y = program.differentiable(Ops(training=True), native, primals)
            return y, *tape.gradient(y, primals, output_gradients=cotangent)

        return differentiated(lambda: [x.numpy() for x in both(primals, cotangent)])

    return {name: variant(xla) for name, xla in COMPILERS.items()}


def training(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """The state lies in variables."""

    def variant(xla: bool) -> Variant:
        native = _native(program, inputs)
        labels = native.pop("labels")
        data = {name: native.pop(name) for name in program.data}
        p = {name: tf.Variable(x) for name, x in native.items()}
        m, v = ({k: tf.Variable(tf.zeros_like(p[k])) for k in program.trained} for _ in range(2))
        t = tf.Variable(0.0)

        @tf.function(jit_compile=xla)  # type: ignore[untyped-decorator]
        def compiled(rate: Any, data: Any, labels: Any) -> Any:
            learned = [p[k] for k in program.trained]
            ops = Ops(training=True)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(learned)
                loss = ops.cross_entropy(program.function(ops, p, **data), labels)
            grads = tape.gradient(loss, learned)
            t.assign_add(1.0)
            for k, g in zip(program.trained, grads, strict=True):
                new = adam(tf.sqrt, p[k], tf.convert_to_tensor(g), m[k], v[k], t, rate)
                for variable, value in zip((p[k], m[k], v[k]), new, strict=True):
                    variable.assign(value)
            for k, value in ops.updates.items():
                p[k].assign(value)
            return loss

        def moments() -> Arrays:
            return [m[k].numpy().reshape(program.parameters[k].shape) for k in program.trained]

        return trained(lambda rate: compiled(tf.constant(rate, tf.float32), data, labels).numpy(), moments)

    return {name: variant(xla) for name, xla in COMPILERS.items()}
