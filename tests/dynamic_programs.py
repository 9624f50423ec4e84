"""Programs of sizes that vary, and what tests of them have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

import tgc
from tgc import nn
from tgc import numpy as tnp
from tgc.backends.cpu.program import CpuProgram

Shape = tuple[int | str, ...]  # sizes that vary are named


@dataclass(frozen=True)
class Program:
    """A function, the shapes of its arguments, and which of these hold integers below 10."""

    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    labels: frozenset[int] | set[int] = frozenset()

    def draw(self, rng: np.random.Generator, least: int = 5, most: int = 30) -> list[np.ndarray]:
        """Random arguments of random sizes."""
        names = dict.fromkeys(n for shape in self.shapes for n in shape if isinstance(n, str))
        sizes = {name: int(rng.integers(least, most)) for name in names}
        found: list[np.ndarray] = []
        for k, shape in enumerate(self.shapes):
            plain = tuple(sizes[n] if isinstance(n, str) else n for n in shape)
            labels = k in self.labels
            found.append(rng.integers(0, 10, plain) if labels else rng.standard_normal(plain).astype(np.float32))
        return found


def weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(math.prod(shape))
    return (rng.standard_normal(shape) / math.sqrt(shape[-2] if len(shape) > 1 else 1)).astype(np.float32)


def mlp(x: Any) -> Any:
    return nn.softmax(nn.dense(nn.relu(nn.dense(x, weights(20, 70), weights(70))), weights(70, 9)))


def block(x: Any, heads: int = 2) -> Any:
    """A layer of a transformer, of [batch, time, 16]."""
    batch, time, width = x.shape
    a = nn.layer_norm(x, weights(16), weights(16))
    q, k, v = (tnp.transpose((a @ weights(16, 16)).reshape(batch, time, heads, -1), (0, 2, 1, 3)) for _ in range(3))
    mixed = tnp.transpose(nn.dot_product_attention(q, k, v), (0, 2, 1, 3)).reshape(batch, time, width)
    x = x + mixed
    return x + nn.gelu(x @ weights(16, 64)) @ weights(64, 16)


def encoder(tokens: Any) -> Any:
    """Logits of tokens [batch, time], of at most 48."""
    time = tokens.shape[1]
    x = nn.embedding(weights(50, 16), tokens) + tnp.dynamic_slice(weights(48, 16), (0, 0), (time, 16))
    return block(block(x)) @ weights(16, 50)


def cnn(x: Any) -> Any:
    x = nn.max_pool(nn.relu(nn.conv(x, weights(3, 3, 2, 8), padding=1)), 2)
    x = nn.relu(nn.conv(x, weights(3, 3, 8, 16), padding=1, stride=2))
    return x.mean((1, 2)) @ weights(16, 10)


def winograd(x: Any) -> Any:
    return nn.relu(nn.conv(nn.conv(x, weights(3, 3, 16, 32), padding=1), weights(3, 3, 32, 16), padding=1))


def training(w: Any, x: Any, y: Any) -> Any:
    def loss(w: Any) -> Any:
        h = nn.relu(nn.conv(x, w["conv"], padding=1))
        return nn.cross_entropy(nn.max_pool(h, 2).reshape(h.shape[0], -1) @ w["dense"], y)

    value, g = tgc.value_and_grad(loss)({"conv": w, "dense": weights(4 * 4 * 6, 10)})
    return value, w - 0.1 * g["conv"], g["dense"]


def statistics(x: Any) -> Any:
    y = (x - x.mean(0)) / tnp.sqrt(tnp.var(x, axis=0) + 1e-5)
    return y, x.sum(), x.max(1), tnp.argmax(y, 0), tnp.cumsum(y, 1)


def moved(x: Any) -> Any:
    n, m = x.shape
    parts = x[1:], x[:-1], x[::2], x[-1], x[n // 2 :, None], x[::-1, 1:-1], tnp.flip(x, 0), tnp.roll(x, 2, 1)
    both = tnp.concatenate([x, x[1:], x], 0), tnp.stack([x, -x]), tnp.pad(x, ((1, 2), (0, 3)))
    made = tnp.arange(n), tnp.zeros((m, n)), tnp.eye(m)[:, :1], tnp.broadcast_to(x[:, :1], (n, m)), x.reshape(-1), x.T
    return parts, both, made


def gradient_of_slices(x: Any) -> Any:
    return tgc.grad(lambda x: (x[1:] * x[:-1]).sum() + (x[:, 2:] ** 2).sum() + tnp.pad(x, 1)[:-1].sum())(x)


def numbers(x: Any) -> Any:
    n, m = x.shape
    return x * n, x + m, x / (n * m), n - x, x // n, (x > m), n * m, tnp.full((n,), m, np.float32), x.astype(int) % n


def lstm(x: Any) -> Any:
    return nn.lstm(x, weights(12, 32), weights(8, 32), weights(32))[0]


def scanned(x: Any, h: Any) -> Any:
    def cell(h: Any, row: Any) -> Any:
        h = tnp.tanh(row @ weights(5, 7) + h @ weights(7, 7))
        return h, h * 2

    return tgc.scan(cell, h, x), tgc.grad(lambda h: tgc.scan(cell, h, x)[1].sum())(h)


def loops(x: Any) -> Any:
    doubled = tgc.while_loop(lambda c: abs(c).sum() < 1e3, lambda c: c * 2, x)
    return doubled, tgc.cond(x.sum() > 0, lambda x: x.sum(0), lambda x: x[0], x)


PROGRAMS: dict[str, Program] = {
    "mlp": Program(mlp, (("n", 20),)),
    "encoder": Program(encoder, (("n", "time"),), {0}),
    "block": Program(block, (("n", "time", 16),)),
    "cnn": Program(cnn, (("n", 12, 14, 2),)),
    "images": Program(cnn, (("n", "height", "width", 2),)),
    "winograd": Program(winograd, (("n", 24, 24, 16),)),
    "depthwise": Program(lambda x: nn.conv(x, weights(3, 3, 1, 24), padding=1, groups=24), (("n", 9, 9, 24),)),
    "training": Program(training, ((3, 3, 2, 6), ("n", 8, 8, 2), ("n",)), {2}),
    "statistics": Program(statistics, (("n", "m"),)),
    "moved": Program(moved, (("n", "m"),)),
    "gradient of slices": Program(gradient_of_slices, (("n", "m"),)),
    "numbers": Program(numbers, (("n", "m"),)),
    "product": Program(lambda x, y: (x @ y, tnp.tanh(x @ y).T), (("n", "k"), ("k", "m"))),
    "products": Program(lambda x, y: x @ tnp.swapaxes(y, -1, -2), (("b", "n", 6), ("b", "m", 6))),
    "elementwise": Program(lambda x, y: tnp.exp(-(x * y)) + x.T.sum(), (("n", "m"), ("n", "m"))),
    "broadcast": Program(lambda x, y: x[:, None] * y + y[None].sum(1, keepdims=True), (("n",), ("m",))),
    "lstm": Program(lstm, (("n", "time", 12),)),
    "scan": Program(scanned, (("time", "n", 5), ("n", 7))),
    "loops": Program(loops, (("n", "m"),)),
    "causal": Program(lambda q: nn.dot_product_attention(q, q, q, is_causal=True, window=5), (("n", 2, "time", 8),)),
    "vmap": Program(lambda x: tgc.vmap(lambda row: nn.softmax(row) @ weights(6, 6))(x), (("n", 6),)),
    "normalized": Program(lambda x: nn.batch_norm(x, *[weights(8) ** 2] * 4, training=True), (("n", 5, 5, 8),)),
    "picked": Program(lambda x, i: tnp.take_along_axis(nn.log_softmax(x), i[:, None], 1), (("n", 10), ("n",)), {1}),
    "sorted": Program(lambda x: tnp.sort(x, 1), (("n", 7),)),
    "by a number of its own": Program(lambda x: sum(x[i] * i for i in range(x.shape[0])), (("n", 4),)),
}
PINNED = ("sorted", "by a number of its own", "vmap")  # each size has a program


def leaves(results: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in optree.tree_leaves(results)]


def executable(f: Any, *args: Any) -> CpuProgram:
    """The program that serves such a call."""
    found = f._compiled(args, {})[0].executable
    assert isinstance(found, CpuProgram)
    return found


def programs(f: Any) -> int:
    """How many programs for many sizes there are."""
    return sum(len(family.programs) for family in f._families.values())


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def requests(count: int, seed: int = 0) -> list[np.ndarray]:
    """Tokens [batch, time] of so many different sizes; times for which attention is one region on all targets."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice(8 * 40, count, replace=False)
    return [rng.integers(0, 50, (1 + int(k) // 40, 8 + int(k) % 40)) for k in sizes]
