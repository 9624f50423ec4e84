"""Models that torch exports to ONNX, with random weights and any batch size. By hand, with a Python that has torch,
onnxscript and onnxruntime:

    python tests/onnx_models.py FOLDER [NAME ...]

writes NAME.onnx, and NAME.npz with inputs at batch 2 (`x`) and torch's output (`y`). Models to be trained are written
once more, as NAME_weights.onnx, without torch's optimizations, which join weights; NAME_weights.npz then has the random
`seed` of a loss sum(seed * y), and its gradients by each weight under the name that it has in the file. NAME_qdq and
NAME_qdq_uint8 are models quantized to 8 bits by onnxruntime, with activations in int8 and in uint8.
"""  # fmt: skip

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """x + f(x), or of what a shortcut makes of x."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + (x if self.shortcut is None else self.shortcut(x))


Act = type[nn.Module] | None


def conv(cin: int, cout: int, k: int, stride: int = 1, groups: int = 1, act: Act = None) -> nn.Sequential:
    """Convolution, normalization, activation."""
    layers: list[nn.Module] = [nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return nn.Sequential(*layers, *([act()] if act else []))


def resnet18(width: int = 64, classes: int = 1000) -> nn.Module:
    """He et al., 2016."""
    layers: list[nn.Module] = [conv(3, width, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    cin = width
    for stage in range(4):
        cout = width * 2**stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = nn.Sequential(conv(cin, cout, 3, stride, act=nn.ReLU), conv(cout, cout, 3))
            layers += [Residual(inner, conv(cin, cout, 1, stride) if cin != cout else None), nn.ReLU()]
            cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, classes))


class Excite(nn.Module):
    """Squeeze and excitation (Hu et al., 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = -(-channels // 4 // 8) * 8
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * functional.hardsigmoid(self.layers(x))


def mobilenet_v3_small(classes: int = 1000) -> nn.Module:
    """Howard et al., 2019."""
    rows = [  # kernel, expanded, out, squeeze and excitation, activation, stride
        (3, 16, 16, True, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 2), (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2), (5, 240, 40, True, nn.Hardswish, 1), (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1), (5, 144, 48, True, nn.Hardswish, 1), (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1), (5, 576, 96, True, nn.Hardswish, 1),
    ]  # fmt: skip
    layers: list[nn.Module] = [conv(3, 16, 3, 2, act=nn.Hardswish)]
    cin = 16
    for k, wide, cout, excite, act, stride in rows:
        inner = nn.Sequential(
            *([conv(cin, wide, 1, act=act)] if wide != cin else []),
            conv(wide, wide, k, stride, groups=wide, act=act),
            *([Excite(wide)] if excite else []),
            conv(wide, cout, 1),
        )
        layers.append(Residual(inner) if stride == 1 and cin == cout else inner)
        cin = cout
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, classes)]
    return nn.Sequential(*layers, conv(cin, 576, 1, act=nn.Hardswish), *head)


class Attention(nn.Module):
    """Self-attention in heads."""

    def __init__(self, dim: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, dim = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, time, dim))


def block(dim: int, heads: int, causal: bool) -> nn.Sequential:
    """A block of a transformer that normalizes first."""
    mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
    return nn.Sequential(Residual(nn.Sequential(nn.LayerNorm(dim), Attention(dim, heads, causal))), Residual(mlp))


class ViT(nn.Module):
    """Dosovitskiy et al., 2021; by default the tiny one."""

    def __init__(self, size: int = 224, patch: int = 16, dim: int = 192, depth: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.places = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*(block(dim, heads, causal=False) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Decoder(nn.Module):
    """Radford et al., 2019, smaller."""

    def __init__(self, vocabulary: int = 4096, time: int = 64, dim: int = 256, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, dim), nn.Embedding(time, dim)
        self.blocks = nn.Sequential(*(block(dim, heads, causal=True) for _ in range(depth)), nn.LayerNorm(dim))
        self.head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.tokens(x) + self.places(torch.arange(x.shape[1]))))


class Tagger(nn.Module):
    """Scores of each symbol by an LSTM in both directions."""

    def __init__(self, vocabulary: int = 5000, dim: int = 128, units: int = 256, tags: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.lstm = nn.LSTM(dim, units, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * units, tags)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.tokens(x))[0])


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 224, 224)


def symbols(batch: int) -> torch.Tensor:
    return torch.randint(0, 4096, (batch, 64))


# name -> model, its inputs for a batch, whether it is to be trained
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor], bool]] = {
    "resnet18": (resnet18, images, True),
    "mobilenet_v3_small": (mobilenet_v3_small, images, False),
    "vit_tiny": (ViT, images, False),
    "decoder": (Decoder, symbols, True),
    "lstm_tagger": (Tagger, symbols, False),
}


def write(name: str, folder: Path) -> None:
    """Export one model."""
    torch.manual_seed(0)
    make, inputs, trained = MODELS[name]
    model = make().eval()
    for module in model.modules():  # as if it had been trained
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    x = inputs(2)
    y = model(x)
    np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.detach().numpy())
    export(model, x, folder / f"{name}.onnx")
    if trained:
        export(model, x, folder / f"{name}_weights.onnx", optimize=False)
        seed = torch.randn_like(y)
        (y * seed).sum().backward()
        gradients = {n: p.grad.numpy() for n, p in model.named_parameters()}
        kept = {"x": x.numpy(), "y": y.detach().numpy(), "seed": seed.numpy()}
        np.savez(folder / f"{name}_weights.npz", **kept, **gradients)


def export(model: nn.Module, x: torch.Tensor, path: Path, *, optimize: bool = True) -> None:
    """Write a model with any size of its first axis."""
    torch.onnx.export(
        model, (x,), path, dynamo=True, input_names=["x"], output_names=["y"], external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},), optimize=optimize,
    )  # fmt: skip


# name -> type of activations
QUANTIZED = {"resnet18_qdq": "QInt8", "resnet18_qdq_uint8": "QUInt8", "mobilenet_v3_small_qdq_uint8": "QUInt8"}


def quantize(source: Path, target: Path, activations: str) -> None:
    """Weights and activations in 8 bits, between operators QuantizeLinear and DequantizeLinear."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            torch.manual_seed(1)
            self.batches = iter([{"x": images(2).numpy()} for _ in range(4)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    ready = target.with_suffix(".ready.onnx")
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    q.quantize_static(
        ready, target, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
        activation_type=q.QuantType[activations],
    )  # fmt: skip
    ready.unlink()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(exist_ok=True)
    for chosen in sys.argv[2:] or [*MODELS, *QUANTIZED]:
        if chosen in QUANTIZED:
            quantize(place / f"{chosen.partition('_qdq')[0]}.onnx", place / f"{chosen}.onnx", QUANTIZED[chosen])
        else:
            write(chosen, place)
