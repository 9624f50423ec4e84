"""Functions that tgc and JAX share, nearly all under one name, with arguments: the table of `compare_jax.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int32", "uint8", "int64")


@dataclass(frozen=True)
class Draw:
    """An array argument: uniform numbers between `lo` and `hi`, both parts of complex ones; distinct if asked for.

    A `kind` other than "" fixes the dtype, whatever that of the other arguments.
    """

    shape: tuple[int, ...]
    lo: float = -2.0
    hi: float = 2.0
    kind: str = ""
    distinct: bool = False

    def array(self, rng: np.random.Generator, dtype: str) -> np.ndarray:
        kind = np.dtype(self.kind or dtype)
        if kind.kind == "b":
            return rng.integers(0, 2, self.shape).astype(bool)
        if kind.kind in "iu":
            return rng.integers(max(int(self.lo), 0 if kind.kind == "u" else -99), int(self.hi) + 1, self.shape, kind)
        if self.distinct:
            n = int(np.prod(self.shape))
            numbers = rng.permutation(np.linspace(self.lo, self.hi, n)).reshape(self.shape)
        else:
            numbers = rng.uniform(self.lo, self.hi, self.shape)
        if kind.kind == "c":
            numbers = numbers + 1j * rng.uniform(self.lo, self.hi, self.shape)
        return numbers.astype(kind)


@dataclass(frozen=True)
class Row:
    """A function by its dotted name in both libraries, its positional arguments and keywords.

    `smooth` says whether gradients are compared too, `slack` by how much more than usual results may differ. Where only
    one triangle of a matrix is read its gradient is a convention; arguments are made `hermitian` first, in both.
    `widens` says that tgc computes in float64 whatever the operands, as NumPy does and JAX does not.
    `alias` is JAX's name of the function where it has another.
    """

    name: str
    args: tuple[Any, ...]
    dtypes: tuple[str, ...] = FLOATS
    smooth: bool = True
    slack: float = 1.0
    kwargs: dict[str, Any] = field(default_factory=dict)
    hermitian: bool = False
    widens: bool = False
    alias: str = ""


def spd(n: int) -> np.ndarray:
    """A symmetric positive definite matrix."""
    a = np.random.default_rng(n).standard_normal((n, n))
    return a @ a.T + n * np.eye(n)


M, V, C, P = Draw((3, 4)), Draw((5,)), Draw((2, 3, 4)), Draw((3, 4), 0.2, 3)
D = Draw((3, 4), distinct=True)
BOTH = FLOATS + COMPLEX
ALL = BOTH + INTEGERS


def _rows(prefix: str, names: str, *args: Any, **options: Any) -> Iterator[Row]:
    for name in names.split():
        yield Row(f"{prefix}{name}", args, **options)


def rows() -> Iterator[Row]:
    """The table."""
    yield from elementwise()
    yield from reductions()
    yield from manipulation()
    yield from products()
    yield from linear_algebra()
    yield from transforms()
    yield from networks()


def elementwise() -> Iterator[Row]:
    n = "numpy."
    yield from _rows(n, "exp expm1 sin cos sinh cosh tanh square conj real imag", M, dtypes=BOTH)
    yield from _rows(n, "arctan arcsinh sinc", M)
    yield from _rows(n, "exp2 cbrt deg2rad rad2deg i0", D)
    yield from _rows(n, "log sqrt reciprocal", P, dtypes=BOTH)
    yield from _rows(n, "log2 log10 log1p", P)
    yield from _rows(n, "tan", Draw((3, 4), -1.2, 1.2), dtypes=BOTH)
    yield from _rows(n, "arcsin arccos arctanh", Draw((3, 4), -0.9, 0.9))
    yield from _rows(n, "arccosh", Draw((3, 4), 1.2, 5))
    yield from _rows(n, "abs negative positive", D, dtypes=BOTH)
    yield from _rows(n, "sign floor ceil trunc rint isnan isinf isfinite signbit", D, smooth=False)
    yield from _rows(n, "isposinf isneginf isreal nan_to_num spacing", D, smooth=False)
    yield from _rows(n, "logical_not iscomplex", D, smooth=False, dtypes=ALL)
    yield from _rows(n, "add subtract multiply divide", M, Draw((4,), 0.5, 2), dtypes=BOTH)
    yield from _rows(n, "add subtract multiply floor_divide remainder power", M, Draw((4,), 1, 3), dtypes=INTEGERS)
    yield from _rows(n, "maximum minimum fmax fmin hypot arctan2 logaddexp logaddexp2 copysign", D, P)
    yield from _rows(n, "remainder fmod", D, Draw((3, 4), 2.5, 3))
    yield from _rows(n, "floor_divide nextafter heaviside", P, Draw((3, 4), 2.5, 3), smooth=False)
    yield from _rows(n, "float_power", P, Draw((3, 4), 2.5, 3), smooth=False, widens=True)
    yield from _rows(n, "power", P, D, dtypes=BOTH, slack=10)
    yield from _rows(n, "equal not_equal", M, M, smooth=False, dtypes=ALL)
    yield from _rows(n, "less less_equal greater greater_equal", M, M, smooth=False, dtypes=FLOATS + INTEGERS)
    yield from _rows(n, "logical_and logical_or logical_xor", M, M, smooth=False, dtypes=ALL)
    yield from _rows(n, "bitwise_and bitwise_or bitwise_xor gcd lcm", Draw((3, 4), 0, 90), V_90, dtypes=INTEGERS)
    yield from _rows(n, "left_shift right_shift", Draw((3, 4), 0, 90), Draw((3, 4), 0, 6), dtypes=INTEGERS)
    yield from _rows(n, "invert bitwise_count abs negative sign", Draw((3, 4), 0, 90), dtypes=INTEGERS)
    yield Row("numpy.clip", (D, -1.0, 1.0))
    yield Row("numpy.where", (Draw((3, 4), kind="bool"), M, M), dtypes=ALL)
    yield from _rows(n, "isclose", M, M, smooth=False)
    yield Row("numpy.ldexp", (M, Draw((3, 4), -3, 3, "int32")))
    yield from _rows(n, "angle", M, dtypes=COMPLEX)
    yield from _rows(n, "round", D, smooth=False)


V_90 = Draw((4,), 1, 90)


def reductions() -> Iterator[Row]:
    n = "numpy."
    for axis in (None, 1):
        yield from _rows(n, "sum mean prod", C, dtypes=BOTH, kwargs={"axis": axis})
        yield from _rows(n, "max min std var ptp", Draw((2, 3, 4), distinct=True), kwargs={"axis": axis})
        yield from _rows(n, "sum prod max min argmax argmin any all", C, dtypes=INTEGERS, kwargs={"axis": axis})
        yield from _rows(n, "argmax argmin count_nonzero", D, smooth=False, kwargs={"axis": axis})
        yield from _rows(n, "nansum nanmean nanmax nanmin nanstd nanvar nanprod", D, kwargs={"axis": axis})
        yield from _rows(n, "median nanmedian average", D, kwargs={"axis": axis})
        yield from _rows(n, "cumsum cumprod nancumsum", D, kwargs={"axis": axis})
        yield from _rows("nn.", "logsumexp", D, kwargs={"axis": axis})
    yield Row("numpy.quantile", (D, 0.3), kwargs={"axis": 1})
    yield Row("numpy.percentile", (D, 30.0), kwargs={"axis": 0})
    yield from _rows(n, "cumsum cumprod", M, dtypes=COMPLEX, kwargs={"axis": 1})
    yield from _rows(n, "cov corrcoef", D, widens=True)
    yield Row("numpy.diff", (M,))
    yield Row("numpy.trapezoid", (M,))
    yield Row("numpy.gradient", (V,))
    yield from _rows(n, "histogram", V, smooth=False, widens=True)
    yield Row("numpy.bincount", (Draw((9,), 0, 5, "int32"),), kwargs={"length": 6}, smooth=False)
    yield Row("numpy.digitize", (V, np.array([-1.0, 0.0, 1.0])), smooth=False)
    yield Row("numpy.interp", (V, np.array([-2.0, 0.0, 2.5]), np.array([1.0, -1.0, 3.0])))
    yield Row("numpy.convolve", (V, Draw((3,))))
    yield Row("numpy.correlate", (V, Draw((3,))))


def manipulation() -> Iterator[Row]:
    n = "numpy."
    yield from _rows(n, "ravel transpose squeeze flip fliplr flipud rot90 atleast_3d copy diagonal", M, dtypes=ALL)
    yield from _rows(n, "tril triu trace", M, dtypes=BOTH)
    yield Row("numpy.reshape", (M, (2, 6)), dtypes=ALL)
    yield Row("numpy.expand_dims", (M, 1))
    yield Row("numpy.swapaxes", (C, 0, 2))
    yield Row("numpy.moveaxis", (C, 0, 2))
    yield Row("numpy.roll", (M, 2), kwargs={"axis": 1}, dtypes=BOTH)
    yield Row("numpy.tile", (M, (2, 1)))
    yield Row("numpy.repeat", (M, 3), kwargs={"axis": 1})
    yield Row("numpy.broadcast_to", (V, (3, 5)))
    yield from _rows(n, "kron outer", M, Draw((2, 2)), dtypes=BOTH)
    yield Row("numpy.vander", (V,))
    yield from _rows(n, "diag diagflat", V)
    yield Row("numpy.take", (M, Draw((5,), 0, 2, "int32")), kwargs={"axis": 0}, dtypes=BOTH)
    yield Row("numpy.take_along_axis", (M, Draw((3, 2), 0, 3, "int32")), kwargs={"axis": 1})
    yield from _rows(n, "sort argsort", D, kwargs={"axis": 1})
    yield from _rows(n, "sort", D, kwargs={"axis": 0}, dtypes=INTEGERS)
    yield Row("numpy.searchsorted", (np.linspace(-2, 2, 9), V), smooth=False)
    for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
        yield Row("numpy.pad", (M, ((1, 2), (0, 3))), kwargs={"mode": mode})
    yield Row("numpy.unwrap", (Draw((5,), -9, 9, distinct=True),))
    yield Row("numpy.polyval", (V, Draw((3,))))
    yield Row("numpy.insert", (M, 1, 2.0), kwargs={"axis": 1})
    yield Row("numpy.delete", (M, 1), kwargs={"axis": 1})
    yield Row("numpy.append", (M, Draw((2, 4))), kwargs={"axis": 0})
    yield Row("numpy.ediff1d", (V,))


def products() -> Iterator[Row]:
    n = "numpy."
    yield from _rows(n, "matmul dot", M, Draw((4, 2)), dtypes=(*BOTH, "int32"))
    yield from _rows(n, "matmul", C, Draw((2, 4, 5)))
    yield from _rows(n, "inner vdot vecdot", V, V, dtypes=BOTH)
    yield Row("numpy.tensordot", (C, Draw((4, 3, 2))), kwargs={"axes": ((1, 2), (1, 0))}, dtypes=BOTH)
    for spec, *shapes in (
        ("ij,jk->ik", (3, 4), (4, 2)), ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)), ("ii->i", (3, 3)), ("ij->j", (3, 4)),
        ("i,j->ij", (3,), (4,)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("...i,i->...", (2, 3, 4), (4,)),
    ):  # fmt: skip
        yield Row("numpy.einsum", (spec, *map(Draw, shapes)))
    yield Row("numpy.cross", (Draw((4, 3)), Draw((4, 3))))


def linear_algebra() -> Iterator[Row]:
    n, s = "numpy.linalg.", spd(4)
    turned = np.exp(1j * np.arange(4))
    z = s * turned * turned[:, None].conj()
    for a, dtypes in ((s, FLOATS), (z, COMPLEX)):
        yield from _rows(n, "cholesky eigvalsh", a, dtypes=dtypes, hermitian=True, slack=10)
        yield from _rows(n, "inv det pinv slogdet svdvals qr", a, dtypes=dtypes, slack=10)
        yield Row(f"{n}norm", (a, "nuc"), dtypes=dtypes, slack=10)
    for a, dtypes in ((Draw((2, 4, 4)), BOTH), (s, FLOATS)):
        yield from _rows(n, "eigvals", a, dtypes=dtypes, slack=100)
    yield Row(f"{n}solve", (z, Draw((4, 2))), dtypes=COMPLEX, slack=10)
    yield Row(f"{n}solve", (s, Draw((4, 2))), slack=10)
    yield Row(f"{n}matrix_power", (s / 8, 3))
    yield from _rows(n, "norm", M, dtypes=BOTH)
    yield from _rows(n, "vector_norm matrix_norm", M)
    yield Row(f"{n}matrix_transpose", (C,))
    yield Row(f"{n}multi_dot", ([M, Draw((4, 2)), Draw((2, 5))],))
    yield Row(f"{n}matrix_rank", (s,), smooth=False)
    yield Row(f"{n}cond", (s,), smooth=False, slack=10)


def transforms() -> Iterator[Row]:
    n = "numpy.fft."
    yield from _rows(n, "fft ifft", C, dtypes=BOTH)
    yield from _rows(n, "rfft ihfft", C)
    yield from _rows(n, "irfft hfft", C, dtypes=COMPLEX)
    yield from _rows(n, "fft2 ifft2 fftn ifftn", C, dtypes=COMPLEX)
    yield from _rows(n, "rfft2 rfftn", C)
    yield from _rows(n, "fftshift ifftshift", C, dtypes=BOTH)
    yield from _rows(n, "irfft2 irfftn", C, dtypes=COMPLEX)
    for options in ({"norm": "ortho"}, {"norm": "forward"}, {"n": 7, "axis": 0}, {"n": 2}):
        yield from _rows(n, "fft ifft irfft hfft", C, kwargs=options, dtypes=COMPLEX)
        yield from _rows(n, "rfft ihfft", C, kwargs=options)
    yield from _rows(n, "fftn ifftn irfftn", C, kwargs={"s": (5, 3), "axes": (2, 0)}, dtypes=COMPLEX)
    yield Row(f"{n}rfftn", (C,), kwargs={"s": (5, 3), "axes": (2, 0)})
    yield from _rows(n, "fftfreq rfftfreq", 7, 0.5, dtypes=("float64",))


def networks() -> Iterator[Row]:
    n = "nn."
    yield from _rows(n, "relu relu6 elu celu selu silu mish softplus sigmoid log_sigmoid", D)
    yield from _rows(n, "softsign", D, alias="nn.soft_sign")
    yield from _rows(n, "hard_sigmoid hard_silu hard_tanh leaky_relu squareplus sparse_plus tanh", D)
    yield from _rows(n, "softmax log_softmax standardize glu", Draw((3, 4), distinct=True))
    for approximate in (False, True):
        yield Row(f"{n}gelu", (D,), kwargs={"approximate": approximate})
    yield Row(f"{n}one_hot", (Draw((5,), 0, 3, "int32"), 4), kwargs={"dtype": "float32"}, smooth=False)


__all__ = ["Draw", "Row", "rows"]
