"""Random programs of nested loops and branches: the oracle against every stage of the compiler and compiled programs.

By hand, for long: `python tests/control_programs.py 0 1000`, the first and the last seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gradients import _total
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.autodiff import differentiate
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.runtime.lowered import Lowered

SIZE = 3  # all values are float64[SIZE, SIZE]
OPS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a * 0.5 - b,
    lambda a, b: tnp.tanh(a @ b),
    lambda a, b: tnp.transpose(a),
    lambda a, b: tnp.sin(a),
    lambda a, b: a - tnp.mean(b, axis=0),
    lambda a, b: tnp.full_like(a, 0.3),
    lambda a, b: tnp.broadcast_to(tnp.max(a, axis=1, keepdims=True), (SIZE, SIZE)) * 0.2,
    lambda a, b: tnp.flip(a, axis=0),
)


@dataclass
class Maker:
    """Makes values of values. What it makes depends on its seed alone, so that a body can be traced again."""

    seed: int
    smooth: bool  # only what has a gradient
    depth: int = 2
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def number(self, stop: int) -> int:
        return int(self.rng.integers(stop))

    def one_of(self, values: Sequence[Any]) -> Any:
        return values[self.number(len(values))]

    def inner(self) -> tuple[int, bool, int]:
        return self.number(1 << 30), self.smooth, self.depth - 1

    def values(self, values: Sequence[Any]) -> list[Any]:
        """The values and more made of them."""
        made = list(values)
        for _ in range(1 + self.number(5)):
            a, b = self.one_of(made), self.one_of(made)
            structures = (self.loop, self.branch, self.repeat)[: 0 if not self.depth else 2 if self.smooth else 3]
            if structures and self.number(4) == 0:
                made += self.one_of(structures)(made)
            else:
                made.append(self.one_of(OPS)(a, b))
        return made

    def loop(self, values: Sequence[Any], xs: Any = None, length: int | None = None) -> list[Any]:
        """A scan: carries that are new, old, exchanged or given twice; rows that are summed up."""
        maker, carries = self.inner(), values[: 1 + self.number(3)]
        closed = values[len(carries) :]
        length = self.number(4) if length is None else length

        def step(carry: Any, x: Any) -> Any:
            m = Maker(*maker)
            made = m.values([*carry, *([] if x is None else [x]), *closed])
            new = tuple(m.one_of(made if m.number(2) else made[-2:]) for _ in carry)
            return new, tuple(m.one_of(made) for _ in range(m.number(3)))

        final, ys = tgc.scan(step, tuple(carries), xs, length, bool(self.number(2)))
        return [*final, *(tnp.sum(y, axis=0) for y in ys)]

    def branch(self, values: Sequence[Any]) -> list[Any]:
        """A cond of the sum of a value, on some values."""
        makers, operands = [self.inner(), self.inner()], values[: 1 + self.number(3)]
        on_true, on_false = (lambda *xs, m=m: (Maker(*m).values(xs)[-1], xs[0]) for m in makers)
        return list(tgc.cond(tnp.sum(self.one_of(values)) > 0, on_true, on_false, *operands))

    def repeat(self, values: Sequence[Any]) -> list[Any]:
        """A while loop of few steps, whose number depends on the values."""
        maker, carries = self.inner(), values[:2]

        def body(state: Any) -> Any:
            i, *carry = state
            made = Maker(*maker).values([*carry, *values[2:3]])
            return (i + 1, *made[-len(carry) :])

        return list(tgc.while_loop(lambda s: (s[0] < 3) & (tnp.sum(s[1]) < 5), body, (0, *carries)))[1:]


def program(seed: int, gradient: bool) -> tuple[Graph, list[np.ndarray]]:
    """A scan of scans, branches and loops, or its gradient, with arguments."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(5))
    arrays = [rng.standard_normal((SIZE, SIZE)) for _ in range(1 + int(rng.integers(3)))]
    arrays.append(rng.standard_normal((length, SIZE, SIZE)))

    def f(*xs: Any) -> list[Any]:
        return Maker(seed, gradient, 3).loop(xs[:-1], xs[-1], length)

    if gradient:
        return differentiate(graph_of(lambda *xs: _total(f, xs, 0), *arrays)), arrays
    return graph_of(f, *arrays), arrays


def check(seed: int, gradient: bool) -> None:
    """Compare all that is made of a program with the oracle."""
    graph, arrays = program(seed, gradient)
    want = interpret(graph, *arrays)

    def compare(got: Sequence[np.ndarray], what: str) -> None:
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=f"seed {seed}: {what}\n{graph}")

    lowered = Lowered(graph)
    for name, stage in lowered.stages.items():
        compare(interpret(stage, *arrays), name)
    compiled = lowered.compile()
    for turn in ("compiled", "called again"):
        compare(compiled([a.copy() for a in arrays]), turn)
    donating = Lowered(graph, donated=tuple(range(len(arrays) - 1)))
    compare(donating.compile()([a.copy() for a in arrays]), "donated")


if __name__ == "__main__":
    for k in range(*map(int, sys.argv[1:3])):
        check(k, gradient=bool(k % 2))
        print(k, end=" ", flush=True)
