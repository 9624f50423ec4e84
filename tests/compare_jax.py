"""Values and gradients of tgc's functions beside JAX's. By hand, or at night; needs `pip install jax`:

    python tests/compare_jax.py [--only numpy.linalg] [--list]

Each row of `jax_rows.py` runs in each of its dtypes, through `tgc.jit` and `jax.jit`. Gradients are those of a random
real linear form of the results, by every array argument of the row's dtype. Prints the rows that differ, those that
tgc lacks, and how many were compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import jax
import numpy as np
from jax_rows import Draw, Row, rows

import tgc
import tgc.numpy as tnp

TOLERANCE = {"f4": 3e-5, "c8": 3e-5, "f8": 1e-10, "c16": 1e-10}


def found(root: Any, name: str) -> Callable[..., Any] | None:
    """What a dotted name stands for, None if a part of it does not exist."""
    return reduce(lambda x, part: getattr(x, part, None), name.split("."), root)


def drawn(arg: Any, rng: np.random.Generator, dtype: str) -> Any:
    if isinstance(arg, Draw):
        return arg.array(rng, dtype)
    if isinstance(arg, list):
        return [drawn(a, rng, dtype) for a in arg]
    if isinstance(arg, np.ndarray) and arg.dtype.kind in "fc" and np.dtype(dtype).kind in "fc":
        return arg.astype(dtype)
    return arg


def difference(got: Any, want: Any, slack: float) -> str:
    """How two results differ; empty if they do not."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape} is not {want.shape}"
    if got.dtype != want.dtype and (got.dtype.kind, want.dtype.kind) not in (("i", "i"), ("u", "u"), ("i", "u")):
        return f"dtype {got.dtype} is not {want.dtype}"
    if got.dtype.kind not in "fc":
        return "" if np.array_equal(got, want) else f"{got.ravel()[:4]} is not {want.ravel()[:4]}"
    tolerance = slack * TOLERANCE.get(want.dtype.str[1:], 1e-2)
    scale = max(1.0, np.abs(want[np.isfinite(want)]).max(initial=0))
    if np.allclose(got, want, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        return ""
    return f"off by {np.nanmax(np.abs(got - want)):.3g} of {scale:.3g}"


@dataclass
class Comparison:
    """What has been compared so far."""

    only: str
    values: int = 0
    gradients: int = 0
    failures: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)

    def run(self) -> None:
        for row in rows():
            if not row.name.startswith(self.only):
                continue
            ours, theirs = found(tgc, row.name), found(jax, row.alias or row.name)
            if theirs is None:
                raise SystemExit(f"JAX has no {row.alias or row.name}")
            if ours is None:
                self.missing.add(row.name)
                continue
            for dtype in row.dtypes:
                try:
                    self.compare(row, dtype, ours, theirs)
                except Exception as error:  # noqa: BLE001  # the run is to go on
                    self.failures.append(f"{row.name} {dtype}: {type(error).__name__}: {error!s:.200}")

    def compare(self, row: Row, dtype: str, ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
        rng = np.random.default_rng(len(row.name))
        leaves, structure = jax.tree.flatten([drawn(a, rng, dtype) for a in row.args])
        places = [k for k, x in enumerate(leaves) if isinstance(x, np.ndarray)]
        arrays = [leaves[k] for k in places]
        real = [k for k, x in enumerate(arrays) if x.dtype.kind in "fc"]

        def call(xp: Any, f: Callable[..., Any], given: Sequence[Any]) -> list[Any]:
            if row.hermitian:
                given = [(x + (xp.conj(x.mT) if x.dtype.kind == "c" else x.mT)) / 2 for x in given]
            filled = dict(zip(places, given, strict=True))
            args = jax.tree.unflatten(structure, [filled.get(k, x) for k, x in enumerate(leaves)])
            return jax.tree.leaves(f(*args, **row.kwargs))

        want = jax.jit(lambda *xs: call(jax.numpy, theirs, xs))(*arrays)
        smooth = row.smooth and real and all(y.dtype.kind in "fc" for y in want)
        weights = [rng.uniform(0.5, 2, y.shape).astype(y.dtype) for y in want]

        def form(xp: Any, f: Callable[..., Any], *xs: Any) -> Any:
            terms = ((w * y).sum() for w, y in zip(weights, call(xp, f, xs), strict=True))
            return reduce(lambda a, b: a + b, (xp.real(t) if t.dtype.kind == "c" else t for t in terms))

        def both(*xs: Any) -> tuple[Any, Any]:
            grads = tgc.grad(lambda *ys: form(tnp, ours, *ys), argnums=real)(*xs) if smooth else ()
            return call(tnp, ours, xs), grads

        got, grads = tgc.jit(both)(*arrays)
        what = f"{row.name} {dtype}"
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            self.values += 1
            if wrong := difference(a.astype(b.dtype) if row.widens else a, b, row.slack):
                self.failures.append(f"{what}: result {k}: {wrong}")
        if smooth:
            slopes = jax.grad(lambda *ys: form(jax.numpy, theirs, *ys), argnums=tuple(real))(*arrays)
            for k, (a, b) in enumerate(zip(grads, slopes, strict=True)):
                self.gradients += 1
                if wrong := difference(a, b, 10 * row.slack):
                    self.failures.append(f"{what}: gradient {k}: {wrong}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose names begin so")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    comparison = Comparison(options.only)
    comparison.run()
    print(*comparison.failures, sep="\n")
    names = len({(row.name, dtype) for row in rows() for dtype in row.dtypes if row.name.startswith(options.only)})
    print(f"missing: {', '.join(sorted(comparison.missing)) or 'nothing'}")
    print(
        f"{names} functions x dtypes, {comparison.values} results and {comparison.gradients} gradients compared, "
        f"{len(comparison.failures)} differ"
    )
    return int(bool(comparison.failures or comparison.missing))


if __name__ == "__main__":
    sys.exit(main())
