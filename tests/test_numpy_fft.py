"""Discrete Fourier transforms against NumPy's, eager and traced, in every dtype, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.interpret import interpret
from tgc.numpy import fft
from tgc.ops import elementwise

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4, 5))
Z = X + 1j * RNG.standard_normal(X.shape)
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
TWO = ("fft2", "ifft2", "rfft2", "irfft2")
MANY = ("fftn", "ifftn", "rfftn", "irfftn")
OPTIONS: dict[tuple[str, ...], tuple[dict[str, Any], ...]] = {
    ONE: ({}, {"n": 7}, {"n": 6, "axis": 1}, {"n": 2, "axis": -3}, {"n": 1}),
    TWO: ({}, {"axes": (2, 0)}, {"s": (3, 7)}),
    MANY: ({}, {"axes": (1, 3)}, {"s": (2, 6, 3), "axes": (2, 0, -1)}, {"s": (-1, 4), "axes": (-1, 1)}),
}
TABLE = [
    (name, {"norm": norm, **options})
    for names, each in OPTIONS.items()
    for name in names
    for k, options in enumerate(each)
    for norm in ((None, "backward", "ortho", "forward") if not k else ("ortho",))
]


def operand(name: str) -> np.ndarray:
    return X if name.startswith(("rfft", "ihfft")) else Z


def close(got: Any, want: np.ndarray, tolerance: float = 1e-12) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1, abs(want).max(initial=0)))


@pytest.mark.parametrize(("name", "options"), TABLE)
def test_same_as_numpy(name: str, options: dict[str, Any]) -> None:
    x = operand(name)
    want = getattr(np.fft, name)(x, **options)
    close(getattr(fft, name)(x, **options), want)
    (traced,) = interpret(graph_of(lambda v: getattr(fft, name)(v, **options), x), x)
    close(traced, want)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64", "complex64"])
def test_dtypes(dtype: str) -> None:
    x = (Z if dtype == "complex64" else X > 0).astype(dtype)
    for name in ONE:
        if not (dtype == "complex64" and name in ("rfft", "ihfft")):
            single = dtype in ("float16", "float32", "complex64")
            wide = x.astype("complex128" if dtype == "complex64" else "float64")
            want = getattr(np.fft, name)(wide)
            close(getattr(fft, name)(x), want.astype(want.dtype.char.replace("d", "f").replace("D", "F") if single
                  else want.dtype), 1e-6 if single else 1e-12)  # fmt: skip


def test_compiled() -> None:
    """Transforms among other ops, of the whole of an operand and of its parts."""
    f = tgc.jit(lambda x, z: (fft.irfft(fft.rfft(x) * 2, 5), fft.fft2(z * 2), fft.ifft(elementwise.real(z))))
    for got, want in zip(f(X, Z), (2 * X, 2 * np.fft.fft2(Z), np.fft.ifft(Z.real)), strict=True):
        close(got, want)
    close(tgc.vmap(lambda x: fft.rfft(x, axis=0), in_axes=3)(X), np.moveaxis(np.fft.rfft(X, axis=0), -1, 0))
    close(fft.fft(np.ones((0, 4))), np.fft.fft(np.ones((0, 4))))


@pytest.mark.parametrize("name", [*ONE, *MANY])
@pytest.mark.parametrize("n", [4, 7])
def test_gradients(name: str, n: int) -> None:
    """Of real operands and of real and imaginary parts, for even and odd numbers of elements."""

    def parts(y: Any) -> list[Any]:
        return [elementwise.real(y), elementwise.imag(y)] if y.dtype == np.complex128 else [y]

    size: dict[str, Any] = {"n": n} if name in ONE else {"s": (n, n), "axes": (0, 1)}
    f = getattr(fft, name)
    check_gradients(lambda x: parts(f(x * x, **size, norm="ortho")), X[0, 0])
    if name not in ("rfft", "ihfft", "rfftn"):
        check_gradients(lambda x, y: parts(f(x * x + 1j * y, **size)), X[0, 0], X[1, 0])


def test_convolution() -> None:
    """The gradient of what is computed by transforms is that of the sum."""
    x, w = X[0, 0, 0], X[0, 0, 1]

    def loss(w: Any) -> Any:
        return tnp.sum(fft.irfft(fft.rfft(x, 9) * fft.rfft(w, 9), 9) ** 2)

    def direct(w: Any) -> Any:
        return tnp.sum(tnp.convolve(x, w) ** 2)

    np.testing.assert_allclose(tgc.grad(loss)(w), tgc.grad(direct)(w), rtol=1e-10)


def test_frequencies_and_shifts() -> None:
    for n in (4, 5):
        np.testing.assert_array_equal(fft.fftfreq(n, 0.5), np.fft.fftfreq(n, 0.5))
        np.testing.assert_array_equal(fft.rfftfreq(n), np.fft.rfftfreq(n))
        assert fft.fftfreq(n, dtype=np.float32, device="cpu").dtype == np.float32
    for axes in (None, 1, (0, 2)):
        for name in ("fftshift", "ifftshift"):
            got, want = (getattr(module, name)(Z, axes) for module in (fft, np.fft))
            np.testing.assert_array_equal(got, want)
            (traced,) = interpret(graph_of(lambda x, f=name, a=axes: getattr(fft, f)(x, a), Z), Z)
            np.testing.assert_array_equal(traced, want)


@pytest.mark.parametrize(
    ("f", "error", "match"),
    [
        (lambda: fft.fft(1.0), ShapeError, "fft"),
        (lambda: fft.fft(np.ones((3, 0))), ShapeError, r"fft\(f64\[3,0\]\).*at least one"),
        (lambda: fft.irfft(np.ones(1)), ShapeError, "at least one element along axis 0, not 0"),
        (lambda: fft.fft(X, 0), ShapeError, "not 0"),
        (lambda: fft.fft(X, 2.0), AttributeSpecError, "an int"),
        (lambda: fft.fft(X, axis=4), ShapeError, "axis"),
        (lambda: fft.fft(X, norm="unit"), AttributeSpecError, "backward, ortho or forward"),
        (lambda: fft.hfft(X, norm="unit"), AttributeSpecError, "hfft: norm"),
        (lambda: fft.rfft(Z), DTypeError, r"rfft\(c128"),
        (lambda: fft.rfft2(Z), DTypeError, r"rfftn\(c128"),
        (lambda: fft.fftn(X, s=(1, 2), axes=(0,)), ShapeError, "2 sizes for 1 axes"),
        (lambda: fft.fftn(X, s=(1,) * 5), ShapeError, "5 sizes for 4 axes"),
        (lambda: fft.rfftn(1.0), ShapeError, "no axis"),
        (lambda: fft.fftfreq(4, dtype=np.int32), DTypeError, "floating-point"),
        (lambda: fft.fftfreq(4, device="gpu"), AttributeSpecError, "device"),
        (lambda: tgc.ops.fft.irfft(Z, n=20), ShapeError, "n // 2"),
        (lambda: tgc.ops.fft.fft(X, inverse=False), DTypeError, "fft"),
    ],
)  # fmt: skip
def test_refused(f: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        f()


def test_not_finite() -> None:
    """What is not finite spreads along its axis alone."""
    x = X.copy()
    x[0, 0, 0, 2] = np.nan
    bad = np.isnan(fft.rfft(x))
    assert bad[0, 0, 0].all()
    assert bad.sum() == 3
