"""Convolutions: of ResNet-50, MobileNet, ViT, first layers, transposed, dilated; forward and both gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload


@dataclass(frozen=True)
class Shape:
    """A square convolution: images [n, size, size, inner], filters [kernel, kernel, inner / groups, outer]."""

    n: int
    size: int
    inner: int
    outer: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    transposed: bool = False

    @property
    def padding(self) -> int:
        """Pixels on each side: as many as keep the size at stride 1, none for patches."""
        return 0 if self.kernel == self.stride else (self.kernel - 1) * self.dilation // 2

    @property
    def attrs(self) -> dict[str, int]:
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def result(self) -> int:
        """Height and width of the result."""
        reach = (self.kernel - 1) * self.dilation + 1
        if self.transposed:
            return (self.size - 1) * self.stride + reach - 2 * self.padding
        return (self.size + 2 * self.padding - reach) // self.stride + 1

    @property
    def title(self) -> str:
        more = [f"stride {self.stride}"] * (self.stride > 1) + [f"dilation {self.dilation}"] * (self.dilation > 1)
        more += ["depthwise" if self.groups == self.inner else f"{self.groups} groups"] * (self.groups > 1)
        more += ["transposed"] * self.transposed
        which = f"{self.kernel}x{self.kernel}, {self.n}x{self.size}x{self.size}x{self.inner} to {self.outer}"
        return ", ".join([which, *more])


SHAPES = {
    "first_7x7": Shape(8, 224, 3, 64, 7, stride=2),
    "first_3x3": Shape(32, 28, 1, 32, 3),
    "first_3x3_s2": Shape(8, 224, 3, 32, 3, stride=2),
    "r50_1x1_64_256": Shape(8, 56, 64, 256, 1),
    "r50_3x3_64": Shape(8, 56, 64, 64, 3),
    "r50_1x1_256_64": Shape(8, 56, 256, 64, 1),
    "r50_3x3_128_s2": Shape(8, 56, 128, 128, 3, stride=2),
    "r50_3x3_128": Shape(8, 28, 128, 128, 3),
    "r50_1x1_256_512_s2": Shape(8, 56, 256, 512, 1, stride=2),
    "r50_3x3_256": Shape(8, 14, 256, 256, 3),
    "r50_1x1_1024_256": Shape(8, 14, 1024, 256, 1),
    "r50_3x3_512": Shape(8, 7, 512, 512, 3),
    "r50_1x1_512_2048": Shape(8, 7, 512, 2048, 1),
    "depthwise_112": Shape(8, 112, 32, 32, 3, groups=32),
    "depthwise_56_s2": Shape(8, 56, 128, 128, 3, stride=2, groups=128),
    "depthwise_14": Shape(8, 14, 512, 512, 3, groups=512),
    "grouped": Shape(8, 28, 128, 128, 3, groups=32),
    "patches": Shape(8, 224, 3, 768, 16, stride=16),
    "dilated": Shape(8, 28, 128, 128, 3, dilation=2),
    "transposed": Shape(8, 28, 128, 64, 3, stride=2, transposed=True),
}


def _forward(shape: Shape) -> Program:
    def forward(ops: Any, p: Any, x: Any, w: Any) -> Any:
        return (ops.conv_transpose if shape.transposed else ops.conv)(x, w, **shape.attrs)

    return Program(forward, {"x": _image(shape), "w": _filter(shape)}, result="image")


def _input_grad(shape: Shape) -> Program:
    images = _image(shape)

    def input_grad(ops: Any, p: Any, g: Any, w: Any) -> Any:
        return ops.conv_input_grad(g, w, images.shape, **shape.attrs)

    return Program(input_grad, {"g": _cotangent(shape), "w": _filter(shape)}, result="image")


def _kernel_grad(shape: Shape) -> Program:
    filters = _filter(shape)

    def kernel_grad(ops: Any, p: Any, g: Any, x: Any) -> Any:
        return ops.conv_kernel_grad(g, x, filters.shape, **shape.attrs)

    return Program(kernel_grad, {"g": _cotangent(shape), "x": _image(shape)}, result="filter")


def _image(s: Shape) -> Tensor:
    return Tensor("image", (s.n, s.size, s.size, s.inner))


def _cotangent(s: Shape) -> Tensor:
    return Tensor("image", (s.n, s.result, s.result, s.outer))


def _filter(s: Shape) -> Tensor:
    ends = (s.outer, s.inner) if s.transposed else (s.inner // s.groups, s.outer)
    return Tensor("filter", (s.kernel, s.kernel, *ends))


DIRECTIONS = {"forward": _forward, "input_grad": _input_grad, "kernel_grad": _kernel_grad}


def _sweep() -> Iterator[Workload]:
    for direction, make in DIRECTIONS.items():
        for name, shape in SHAPES.items():
            if shape.transposed and direction != "forward":  # its gradients are a convolution and its kernel's gradient
                continue
            yield Workload(
                f"conv_{name}_{direction}",
                shape.title,
                make(shape),
                ("torch",),
                tolerance=1e-4,
                group=f"convolutions, {direction.replace('_', ' ')}",
                quick=name == "r50_3x3_128",
            )


WORKLOADS = tuple(_sweep())
