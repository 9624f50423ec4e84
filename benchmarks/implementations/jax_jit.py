"""JAX: `jax.jit`. XLA has no setting for the number of threads, but it minds the cores that it may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.workloads.base import (
    BATCH_NORM,
    Arrays,
    Inputs,
    Program,
    Serving,
    Variant,
    adam,
    channels_last,
    differentiated,
    stateless,
    thread_count,
    trained,
)

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: thread_count()])

import jax  # with those cores
import numpy as np
from jax import lax, nn
from jax import numpy as jnp


class Ops:
    """The vocabulary."""

    relu, sigmoid, softmax = staticmethod(nn.relu), staticmethod(nn.sigmoid), staticmethod(nn.softmax)
    tanh, exp = staticmethod(jnp.tanh), staticmethod(jnp.exp)
    reshape, transpose, zeros = staticmethod(jnp.reshape), staticmethod(jnp.transpose), staticmethod(jnp.zeros)

    def __init__(self, *, training: bool = False) -> None:
        self.training = training
        self.updates: dict[str, Any] = {}

    def gelu(self, x: Any) -> Any:
        return nn.gelu(x, approximate=False)

    def matmul(self, x: Any, y: Any, tx: bool = False, ty: bool = False) -> Any:
        return (x.mT if tx else x) @ (y.mT if ty else y)

    def dense(self, x: Any, w: Any, b: Any = None) -> Any:
        return x @ w if b is None else x @ w + b

    def first(self, x: Any, n: Any) -> Any:
        return x[:n]

    def embed(self, table: Any, ids: Any) -> Any:
        return table[ids]

    def layer_norm(self, x: Any, scale: Any = None, bias: Any = None) -> Any:
        y = (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        return y if scale is None else y * scale + bias

    def conv(self, x: Any, w: Any, b: Any = None, stride: int = 1, padding: int = 0) -> Any:
        y = lax.conv_general_dilated(
            x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y if b is None else y + b

    def max_pool(self, x: Any, size: int, stride: int, padding: int = 0) -> Any:
        pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)

    def mean_pixels(self, x: Any) -> Any:
        return x.mean((1, 2))

    def flatten(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1)

    def attention(self, q: Any, k: Any, v: Any, causal: bool = True) -> Any:
        scores = q @ k.mT / np.float32(np.sqrt(q.shape[-1]))
        scores = jnp.where(np.tri(q.shape[-2], dtype=bool), scores, -jnp.inf) if causal else scores
        return nn.softmax(scores) @ v

    def lstm(self, x: Any, w: Any, u: Any, b: Any) -> Any:
        def cell(state: Any, row: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(row + h @ u, 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[0], u.shape[0]), x.dtype)
        return self.scan(cell, (zero, zero), (x @ w + b).swapaxes(0, 1)).swapaxes(0, 1)

    def scan(self, cell: Any, state: Any, rows: Any) -> Any:
        return lax.scan(cell, state, rows)[1]

    def batch_norm(self, x: Any, p: Any, name: str) -> Any:
        mean, variance = p[f"{name}.mean"], p[f"{name}.variance"]
        if self.training:
            old, keep = (mean, variance), BATCH_NORM["momentum"]
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            n = x.size // x.shape[-1]
            for part, a, b in zip(("mean", "variance"), old, (mean, variance * (n / (n - 1))), strict=True):
                self.updates[f"{name}.{part}"] = keep * a + (1 - keep) * b
        return (x - mean) * (p[f"{name}.scale"] * lax.rsqrt(variance + BATCH_NORM["epsilon"])) + p[f"{name}.bias"]

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return -jnp.take_along_axis(nn.log_softmax(logits), labels[..., None], -1).mean()


def _native(program: Program, inputs: Inputs) -> dict[str, Any]:
    return {name: jnp.asarray(channels_last(inputs[name], t)) for name, t in program.tensors.items()}


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Parameters as arguments, and as constants."""
    native = _native(program, inputs)
    p = {name: native[name] for name in program.parameters}
    data = [native[name] for name in program.data]
    given = jax.jit(lambda p, *data: program(Ops(), p, *data))
    found = {"arguments": stateless(lambda: given(p, *data).block_until_ready())}
    if p:
        fixed = jax.jit(lambda *data: program(Ops(), p, *data))
        found["constants"] = stateless(lambda: fixed(*data).block_until_ready())
    return found


def gradients(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """The result and its pullback in one program, whose arguments are what is differentiated."""
    native = _native(program, inputs)
    cotangent = native.pop("cotangent")
    primals = [native[name] for name in program.differentiated]

    @jax.jit
    def both(primals: Any, cotangent: Any) -> Any:
        y, pull = jax.vjp(lambda *some: program.differentiable(Ops(training=True), native, some), *primals)
        return y, *pull(cotangent)

    return {"jit": differentiated(lambda: jax.block_until_ready(both(primals, cotangent)))}


def serving(program: Program, inputs: Inputs) -> Serving:
    """One function; the parameters are arguments."""
    p = _native(program, inputs)
    traced = []

    @jax.jit
    def served(p: Any, *data: Any) -> Any:
        traced.append(data)
        return program(Ops(), p, *data)

    def fixed(*data: np.ndarray) -> Callable[[], Any]:
        own = jax.jit(lambda p, *data: program(Ops(), p, *data))
        return lambda: np.asarray(own(p, *data))

    return Serving(lambda *data: np.asarray(served(p, *data)), lambda: len(traced), fixed)


def training(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Forward, backward and update as one program with donated state."""
    native = _native(program, inputs)
    labels = native.pop("labels")
    data = {name: native.pop(name) for name in program.data}

    def train_step(p: Any, m: Any, v: Any, t: Any, rate: Any, data: Any, labels: Any) -> Any:
        def loss(some: Any) -> Any:
            ops = Ops(training=True)
            return ops.cross_entropy(program.function(ops, {**p, **some}, **data), labels), ops.updates

        (value, new), grads = jax.value_and_grad(loss, has_aux=True)({k: p[k] for k in program.trained})
        t, p, m, v = t + 1, {**p, **new}, {**m}, {**v}
        for k, g in grads.items():
            p[k], m[k], v[k] = adam(jnp.sqrt, p[k], g, m[k], v[k], t, rate)
        return p, m, v, t, value

    compiled = jax.jit(train_step, donate_argnums=(0, 1, 2, 3))
    zeros = ({k: jnp.zeros_like(native[k]) for k in program.trained} for _ in range(2))
    state: list[Any] = [native, *zeros, jnp.zeros((), np.float32)]

    def step(rate: float) -> Any:
        *state[:], loss = compiled(*state, rate, data, labels)
        return loss.block_until_ready()

    def moments() -> Arrays:
        return [np.asarray(state[1][k]).reshape(program.parameters[k].shape) for k in program.trained]

    return {"jit": trained(step, moments)}
