"""PyTorch, run op by op; its compiler and its exporter begin with the same vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.workloads.base import BATCH_NORM, Arrays, Inputs, Program, Serving, Tensor, Variant, trained

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ADAM = {"single": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}
Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]

# kind -> the order in which torch has our axes; those of features after the first are then merged
ORDERS = {"image": (0, 3, 1, 2), "filter": (3, 2, 0, 1), "matrix": (1, 0), "features": (3, 2, 0, 1)}


def to_torch(array: np.ndarray, tensor: Tensor, memory: torch.memory_format) -> torch.Tensor:
    """An array with torch's axes, images and filters in the memory format."""
    t = torch.from_numpy(array.copy())
    if tensor.kind in ORDERS:
        t = t.permute(ORDERS[tensor.kind])
    if tensor.kind == "features":
        t = t.flatten(1)
    if tensor.kind in ("image", "filter"):
        return t.contiguous(memory_format=memory)
    return t.long() if tensor.kind == "ids" else t.contiguous()


def from_torch(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """An array with our axes again."""
    if tensor.kind not in ORDERS:
        return array
    order = ORDERS[tensor.kind]
    if tensor.kind == "features":
        array = array.reshape([tensor.shape[a] for a in order])
    return array.transpose(np.argsort(order))


class Ops:
    """The vocabulary."""

    relu, gelu, reshape = functional.relu, functional.gelu, torch.reshape
    tanh, exp, sigmoid, transpose = torch.tanh, torch.exp, torch.sigmoid, torch.permute

    def __init__(self, *, training: bool = False) -> None:
        self.training = training

    def softmax(self, x: Any) -> Any:
        return torch.softmax(x, -1)

    def matmul(self, x: Any, y: Any, tx: bool = False, ty: bool = False) -> Any:
        return (x.mT if tx else x) @ (y.mT if ty else y)

    def dense(self, x: Any, w: Any, b: Any = None) -> Any:
        return functional.linear(x, w, b)

    def first(self, x: Any, n: Any) -> Any:
        return x[:n]

    def embed(self, table: Any, ids: Any) -> Any:
        return functional.embedding(ids, table)

    def layer_norm(self, x: Any, scale: Any = None, bias: Any = None) -> Any:
        return functional.layer_norm(x, x.shape[-1:], scale, bias)

    def conv(self, x: Any, w: Any, b: Any = None, **attrs: Any) -> Any:
        return functional.conv2d(x, w, b, **attrs)

    def conv_transpose(self, x: Any, w: Any, **attrs: Any) -> Any:
        return functional.conv_transpose2d(x, w, **attrs)

    def conv_input_grad(self, g: Any, w: Any, shape: tuple[int, ...], **attrs: int) -> Any:
        x = g.new_empty([shape[a] for a in ORDERS["image"]])
        return self._conv_grads(g, x.to(memory_format=torch.channels_last), w, [True, False, False], **attrs)[0]

    def conv_kernel_grad(self, g: Any, x: Any, shape: tuple[int, ...], **attrs: int) -> Any:
        w = g.new_empty([shape[a] for a in ORDERS["filter"]])
        return self._conv_grads(g, x, w.to(memory_format=torch.channels_last), [False, True, False], **attrs)[1]

    def _conv_grads(
        self, g: Any, x: Any, w: Any, mask: list[bool], stride: int, padding: int, dilation: int, groups: int
    ) -> Any:
        attrs = ([stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], groups)
        return torch.ops.aten.convolution_backward(g, x, w, None, *attrs, mask)

    def max_pool(self, x: Any, size: int, stride: int, padding: int = 0) -> Any:
        return functional.max_pool2d(x, size, stride, padding)

    def mean_pixels(self, x: Any) -> Any:
        return x.mean((2, 3))

    def flatten(self, x: Any) -> Any:
        return x.flatten(1)

    def attention(self, q: Any, k: Any, v: Any, causal: bool = True) -> Any:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def lstm(self, x: Any, w: Any, u: Any, b: Any) -> Any:  # as torch.nn.LSTM calls it, which has two biases
        zero = x.new_zeros(1, x.shape[0], u.shape[1])
        weights = (w, u, b, torch.zeros_like(b))
        return torch.lstm(x, (zero, zero), weights, True, 1, 0.0, self.training, False, True)[0]

    def batch_norm(self, x: Any, p: Any, name: str) -> Any:
        mean, variance, scale, bias = (p[f"{name}.{part}"] for part in ("mean", "variance", "scale", "bias"))
        momentum, epsilon = 1 - BATCH_NORM["momentum"], BATCH_NORM["epsilon"]
        return functional.batch_norm(x, mean, variance, scale, bias, self.training, momentum, epsilon)


for _name, _value in list(vars(Ops).items()):  # functions of a namespace take no self
    if not _name.startswith("_") and getattr(_value, "__module__", None) != __name__:
        setattr(Ops, _name, staticmethod(_value))


def formats(program: Program) -> dict[str, torch.memory_format]:
    """The memory formats that make a difference to a program."""
    images = any(t.kind == "image" for t in program.tensors.values())
    return FORMATS if images else {"contiguous": torch.contiguous_format}


def tensors(program: Program, inputs: Inputs, memory: torch.memory_format) -> dict[str, torch.Tensor]:
    """All tensors of a program."""
    return {name: to_torch(inputs[name], t, memory) for name, t in program.tensors.items()}


def calls(program: Program, inputs: Inputs, compiler: Compiler = lambda f: f) -> Mapping[str, Variant]:
    """Calls without autograd, in each memory format."""
    result = Tensor(program.result, ())

    def variant(memory: torch.memory_format) -> Variant:
        all_of_it = tensors(program, inputs, memory)
        p = {name: all_of_it[name] for name in program.parameters}
        data = [all_of_it[name] for name in program.data]
        f = compiler(lambda *data: program(Ops(), p, *data))

        def call() -> torch.Tensor:
            with torch.inference_mode():
                return f(*data)  # type: ignore[no-any-return]

        return Variant(call, lambda: [from_torch(call().numpy(), result)])

    return {name: variant(memory) for name, memory in formats(program).items()}


def serving(program: Program, inputs: Inputs, any_size: Compiler | None = None, own: Compiler | None = None) -> Serving:
    """Calls without autograd, by two compilers if there are any; programs are what Dynamo counts."""
    p = tensors(program, inputs, torch.contiguous_format)

    def called(f: Callable[..., Any], *data: np.ndarray) -> np.ndarray:
        kinds = program.data.values()
        with torch.inference_mode():
            native = (to_torch(x, t, torch.contiguous_format) for x, t in zip(data, kinds, strict=True))
            return f(*native).numpy()  # type: ignore[no-any-return]

    def made(compiler: Compiler | None) -> Callable[..., Any]:
        f = lambda *data: program(Ops(), p, *data)  # noqa: E731
        return partial(called, compiler(f) if compiler else f)

    def programs() -> int:
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"]) if any_size else 0

    return Serving(made(any_size), programs, lambda *data: partial(made(own), *data))


def gradients(program: Program, inputs: Inputs, compiler: Compiler = lambda f: f) -> Mapping[str, Variant]:
    """Calls and the gradients that autograd returns, in each memory format."""
    result = Tensor(program.result, ())
    made = [result, *(program.tensors[name] for name in program.differentiated)]

    def variant(memory: torch.memory_format) -> Variant:
        native = tensors(program, inputs, memory)
        cotangent = native.pop("cotangent")
        primals = [native[name].requires_grad_() for name in program.differentiated]
        f = compiler(lambda *some: program.differentiable(Ops(training=True), native, some))

        def call() -> list[torch.Tensor]:
            y = f(*primals)
            return [y.detach(), *torch.autograd.grad(y, primals, cotangent)]

        return Variant(call, lambda: [from_torch(y.numpy(), t) for y, t in zip(call(), made, strict=True)])

    return {name: variant(memory) for name, memory in formats(program).items()}


def training(program: Program, inputs: Inputs, compiler: Compiler = lambda f: f) -> Mapping[str, Variant]:
    """Training steps, in each memory format and with all of torch's forms of Adam.

    A compiled step has one form and one format (its compiler chooses its own): each costs it half a minute.
    """

    def variant(memory: torch.memory_format, form: dict[str, bool]) -> Variant:
        p = tensors(program, inputs, memory)
        learned = [p[name].requires_grad_() for name in program.trained]
        labels = p.pop("labels").flatten()
        data = {name: p.pop(name) for name in program.data}
        optimizer = torch.optim.Adam(learned, **form)  # type: ignore[arg-type]

        def loss() -> torch.Tensor:
            logits = program.function(Ops(training=True), p, **data)
            return functional.cross_entropy(logits.flatten(0, -2), labels)

        loss_of = compiler(loss)

        def step(rate: float) -> Any:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            value = loss_of()
            value.backward()
            optimizer.step()
            return value.detach()

        def moments() -> Arrays:
            found = (optimizer.state[q]["exp_avg"].numpy() for q in learned)
            return [from_torch(m, program.parameters[name]) for name, m in zip(program.trained, found, strict=True)]

        return trained(step, moments)

    if compiler.__module__ != __name__:
        memory = FORMATS["channels_last" if len(formats(program)) > 1 else "contiguous"]
        return {"fused": variant(memory, ADAM["fused"])}
    pairs = product(formats(program).items(), ADAM.items())
    return {f"{name}, {adam}": variant(memory, form) for (name, memory), (adam, form) in pairs}
