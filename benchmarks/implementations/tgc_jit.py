"""tgc: `tgc.jit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import tgc
from benchmarks.workloads.base import (
    BATCH_NORM,
    TIMED_RATE,
    Inputs,
    Program,
    Serving,
    Variant,
    adam,
    channels_last,
    differentiated,
    stateless,
    trained,
)
from tgc import nn
from tgc import numpy as tnp
from tgc.jit import LoweredFunction
from tgc.ops import contraction


def _conv_attrs(stride: int, padding: int, dilation: int, groups: int) -> dict[str, Any]:
    return dict(stride=(stride,) * 2, padding=((padding,) * 2,) * 2, dilation=(dilation,) * 2, groups=groups)


class Ops:
    """The vocabulary."""

    relu, gelu, sigmoid, softmax = nn.relu, nn.gelu, nn.sigmoid, nn.softmax
    tanh, exp, reshape, transpose = tnp.tanh, tnp.exp, tnp.reshape, tnp.transpose
    dense, embed, layer_norm, cross_entropy = nn.dense, nn.embedding, nn.layer_norm, nn.cross_entropy
    conv, conv_transpose, zeros = nn.conv, nn.conv_transpose, tnp.zeros

    def __init__(self, *, training: bool = False) -> None:
        self.training = training
        self.updates: dict[str, Any] = {}

    def first(self, x: Any, n: int) -> Any:
        return tnp.dynamic_slice(x, (0,) * x.ndim, (n, *x.shape[1:]))

    def matmul(self, x: Any, y: Any, tx: bool = False, ty: bool = False) -> Any:
        return (x.mT if tx else x) @ (y.mT if ty else y)

    def conv_input_grad(self, g: Any, w: Any, shape: tuple[int, ...], **attrs: int) -> Any:
        return contraction.conv_input_grad(g, w, shape=shape, **_conv_attrs(**attrs))

    def conv_kernel_grad(self, g: Any, x: Any, shape: tuple[int, ...], **attrs: int) -> Any:
        return contraction.conv_kernel_grad(x, g, kernel=shape[:2], chunks=0, **_conv_attrs(**attrs))

    def max_pool(self, x: Any, size: int, stride: int, padding: int = 0) -> Any:
        return nn.max_pool(x, size, stride=stride, padding=padding)

    def mean_pixels(self, x: Any) -> Any:
        return x.mean((1, 2))

    def flatten(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1)

    def attention(self, q: Any, k: Any, v: Any, causal: bool = True) -> Any:
        return nn.dot_product_attention(q, k, v, is_causal=causal)

    def lstm(self, x: Any, w: Any, u: Any, b: Any) -> Any:
        return nn.lstm(x, w, u, b)[0]

    def scan(self, cell: Any, state: Any, rows: Any) -> Any:
        return tgc.scan(cell, state, rows)[1]

    def batch_norm(self, x: Any, p: Any, name: str) -> Any:
        arrays = [p[f"{name}.{part}"] for part in ("mean", "variance", "scale", "bias")]
        y, *new = nn.batch_norm(x, *arrays, training=self.training, unbiased=True, **BATCH_NORM)
        self.updates |= zip((f"{name}.mean", f"{name}.variance"), new, strict=True)
        return y


for _name, _value in list(vars(Ops).items()):  # functions of a namespace take no self
    if not _name.startswith("_") and getattr(_value, "__module__", __name__) != __name__:
        setattr(Ops, _name, staticmethod(_value))


def _native(program: Program, inputs: Inputs) -> Inputs:
    return {name: channels_last(inputs[name], t) for name, t in program.tensors.items()}


def _views(jitted: Any, arguments: Callable[[], tuple[Any, ...]]) -> dict[str, Callable[[], Any]]:
    """A variant's views of a call with arguments: its profile and its arena."""

    def profile() -> dict[str, Any]:
        found = jitted.profile(*arguments())
        return {
            "kernels": found.as_dicts(),
            "wall_s": found.wall,
            "explained": found.explained,
            "roofline": vars(found.roofline),
        }

    def arena() -> int:
        from tgc.passes.memory import arena_bytes  # which programs that are kept start without

        return arena_bytes(jitted.lower(*arguments()).compilation.result)

    return {"profile": profile, "arena": arena}


def calls(program: Program, inputs: Inputs, *, autotune: bool = False) -> Mapping[str, Variant]:
    """One function; the parameters are constants."""
    native = _native(program, inputs)
    p = {name: native[name] for name in program.parameters}
    data = [native[name] for name in program.data]
    compiled = tgc.jit(lambda *data: program(Ops(), p, *data), autotune=autotune)
    return {"jit": stateless(lambda: compiled(*data), **_views(compiled, lambda: tuple(data)))}


def gradients(program: Program, inputs: Inputs, *, autotune: bool = False) -> Mapping[str, Variant]:
    """The result and its pullback in one function, whose arguments are what is differentiated."""
    native = _native(program, inputs)
    cotangent = native.pop("cotangent")
    primals = [native[name] for name in program.differentiated]

    def both(primals: Any, cotangent: Any) -> Any:
        y, pull = tgc.vjp(lambda *some: program.differentiable(Ops(training=True), native, some), *primals)
        return y, *pull(cotangent)

    compiled = tgc.jit(both, autotune=autotune)
    arguments = primals, cotangent
    return {"jit": differentiated(lambda: compiled(*arguments), **_views(compiled, lambda: arguments))}


def serving(program: Program, inputs: Inputs) -> Serving:
    """One function; the parameters are constants."""
    native = _native(program, inputs)
    traced = []

    def served(*data: Any) -> Any:
        traced.append(data)
        return program(Ops(), native, *data)

    def fixed(*data: np.ndarray) -> Callable[[], Any]:
        own = tgc.jit(lambda *data: program(Ops(), native, *data))
        return lambda: own(*data)

    return Serving(tgc.jit(served), lambda: len(traced), fixed)


class Training:
    """A jitted training step with donated state, and that state."""

    def __init__(self, program: Program, inputs: Inputs, *, autotune: bool = False) -> None:
        self.program, native = program, _native(program, inputs)
        p = {name: native[name].copy() for name in program.parameters}
        zeros = ({name: np.zeros_like(p[name]) for name in program.trained} for _ in range(2))
        self.state: list[Any] = [p, *zeros, np.zeros((), np.float32)]
        self.use(inputs)
        self._jitted = tgc.jit(self._step, donate=("p", "m", "v", "t"), autotune=autotune)

    def use(self, inputs: Inputs) -> None:
        """Train on the data and labels of `inputs` from now on."""
        self._batch = {name: inputs[name] for name in (*self.program.data, "labels")}

    def _step(self, p: Any, m: Any, v: Any, t: Any, rate: Any, batch: Any) -> Any:
        data = {name: x for name, x in batch.items() if name != "labels"}

        def loss(some: Any) -> Any:
            ops = Ops(training=True)
            return nn.cross_entropy(self.program.function(ops, {**p, **some}, **data), batch["labels"]), ops.updates

        (value, new), grads = tgc.value_and_grad(loss, has_aux=True)({k: p[k] for k in self.program.trained})
        t, p = t + 1, {**p, **new}
        for k, g in grads.items():
            p[k], m[k], v[k] = adam(tnp.sqrt, p[k], g, m[k], v[k], t, rate)
        return p, m, v, t, value

    def step(self, rate: float = TIMED_RATE) -> Any:
        """The loss of the batch before the update that it brings."""
        *self.state, loss = self._jitted(*self.state, rate, self._batch)
        return loss

    def lower(self) -> LoweredFunction:
        """The step's graph, with every stage of its compilation."""
        return self._jitted.lower(*self._arguments())

    def views(self) -> dict[str, Callable[[], Any]]:
        """Of a step, for a variant."""
        return _views(self._jitted, self._arguments)

    def _arguments(self) -> tuple[Any, ...]:
        return *self.state, TIMED_RATE, self._batch


def training(program: Program, inputs: Inputs, *, autotune: bool = False) -> Mapping[str, Variant]:
    """Forward, backward and update as one program."""
    made = Training(program, inputs, autotune=autotune)
    shapes = {k: program.parameters[k].shape for k in program.trained}
    moments = lambda: [made.state[1][k].reshape(s) for k, s in shapes.items()]  # noqa: E731
    return {"one program": trained(made.step, moments, **made.views())}
