"""Contractions of 8-bit integers into int32: exact for all signs and sizes, by the tiles made for them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_other_targets import NEON, launches
from test_passes import TARGET

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu.compile import compile_kernel
from tgc.backends.cpu.loader import with_units
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget
from tgc.errors import DTypeError
from tgc.ops import contraction
from tgc.ops.kinds import evaluate

RNG = np.random.default_rng(5)
KINDS = list(itertools.product((np.uint8, np.int8), repeat=2))
VNNI = CpuTarget.of(TARGET.triple, TARGET.features | {"avx512vnni"}, threads=2)
I32 = np.int32


def whole(shape: Sequence[int], kind: Any) -> np.ndarray:
    """All numbers of a dtype, the extreme ones often."""
    ends = np.iinfo(kind)
    found = RNG.integers(ends.min, ends.max + 1, shape)
    return np.where(RNG.random(shape) < 0.3, RNG.choice([ends.min, ends.max], shape), found).astype(kind)


def product(subscripts: str) -> Any:
    return lambda x, y: tnp.einsum(subscripts, x.astype(I32), y.astype(I32))


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(
    ("subscripts", "x", "y"),
    [
        ("mk,kn->mn", (5, 8), (8, 3)),
        ("mk,kn->mn", (17, 37), (37, 33)),
        ("mk,kn->mn", (1, 64), (64, 70)),
        ("mk,kn->mn", (30, 5), (5, 1)),
        ("mk,kn->mn", (3, 4101), (4101, 130)),
        ("mk,kn->mn", (9, 0), (0, 7)),
        ("km,nk->mn", (37, 20), (19, 37)),
        ("bmk,bkn->bmn", (3, 7, 20), (3, 20, 9)),
        ("mk,nk->nm", (6, 13), (8, 13)),
        ("abk,kcb->abc", (3, 7, 20), (20, 5, 7)),
        ("abk,kcb->ac", (3, 7, 20), (20, 5, 7)),
        ("abk,bk->a", (3, 7, 6), (7, 6)),
        ("bk,bk->b", (4, 9), (4, 9)),
    ],
)  # fmt: skip
def test_products_are_exact(subscripts: str, x: tuple[int, ...], y: tuple[int, ...], kinds: Any) -> None:
    a, b = (whole(shape, kind) for shape, kind in zip((x, y), kinds, strict=True))
    want = np.einsum(subscripts, a.astype(I32), b.astype(I32))
    f = product(subscripts)
    for found in (tgc.jit(f)(a, b), tgc.jit(lambda x: f(x, tnp.asarray(b)))(a)):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, want)


def attributes(stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1, rank: int = 2) -> dict[str, Any]:
    pairs = {"stride": (stride,) * rank, "padding": ((padding, max(padding - 1, 0)),) * rank}
    return pairs | {"dilation": (dilation,) * rank, "groups": groups}


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 9, 10, 8), (3, 3, 8, 16), attributes(padding=1)),
    ((1, 17, 19, 3), (7, 7, 3, 20), attributes(stride=2, padding=3)),
    ((1, 8, 8, 5), (3, 3, 5, 7), attributes(padding=1)),
    ((1, 9, 9, 6), (1, 1, 6, 70), attributes(stride=2)),
    ((2, 12, 12, 3), (3, 3, 3, 8), attributes(dilation=2, padding=2)),
    ((1, 13, 13, 64), (3, 3, 64, 64), attributes(padding=1)),
    ((1, 30, 5, 1), (3, 2, 1, 3), attributes()),
    ((2, 40, 3), (5, 3, 9), attributes(stride=3, padding=2, rank=1)),
    ((1, 4, 5, 6, 2), (2, 2, 3, 2, 5), attributes(padding=1, rank=3)),
    ((1, 9, 9, 8), (3, 3, 2, 12), attributes(groups=4, padding=1)),
    ((1, 9, 9, 8), (3, 3, 1, 8), attributes(groups=8, padding=1)),
    ((1, 5, 5, 480), (3, 3, 240, 4), attributes(groups=2)),
]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(("x", "w", "attrs"), CONVOLUTIONS)
def test_convolutions_are_exact(x: tuple[int, ...], w: tuple[int, ...], attrs: dict[str, Any], kinds: Any) -> None:
    a, b = (whole(shape, kind) for shape, kind in zip((x, w), kinds, strict=True))
    want = evaluate(contraction.conv, [a.astype(I32), b.astype(I32)], attrs)

    def convolved(x: Any, w: Any) -> Any:
        return contraction.conv(x.astype(I32), w.astype(I32), **attrs)

    for found in (tgc.jit(convolved)(a, b), tgc.jit(lambda x: convolved(x, tnp.asarray(b)))(a)):
        np.testing.assert_array_equal(found, want)


def test_sums_wrap_around() -> None:
    """The greatest products, so many that their sum has no place in 32 bits."""
    k = (1 << 31) // (255 * 127) + 1000
    x, w = np.full((2, k), 255, np.uint8), np.full((k, 20), 127, np.int8)
    with np.errstate(over="ignore"):
        want = np.full((2, 20), np.int64(k) * 255 * 127).astype(I32)
    assert (want < 0).all()
    np.testing.assert_array_equal(tgc.jit(product("mk,kn->mn"))(x, w), want)


def quantized(x: Any, w: np.ndarray, bias: np.ndarray, scale: np.ndarray, residual: Any) -> Any:
    """A layer of a quantized network: 8-bit integers in and out."""
    sums = contraction.conv(x.astype(I32), tnp.asarray(w).astype(I32), **attributes(padding=1)) + bias
    y = sums.astype(np.float32) * scale + (residual.astype(np.float32) - np.float32(3)) * np.float32(0.25)
    return tnp.clip(tnp.round(tnp.maximum(y, 0)) + np.float32(7), 0, 255).astype(np.uint8)


def layer() -> tuple[np.ndarray, ...]:
    x, w, residual = whole((2, 14, 15, 24), np.uint8), whole((3, 3, 24, 40), np.int8), whole((2, 13, 14, 40), np.uint8)
    return x, w, RNG.integers(-999, 999, 40).astype(I32), RNG.random(40, np.float32) / 999, residual


def test_an_epilogue_requantizes() -> None:
    x, w, bias, scale, residual = layer()
    found = tgc.jit(lambda x, r: quantized(x, w, bias, scale, r))(x, residual)
    sums = evaluate(contraction.conv, [x.astype(I32), w.astype(I32)], attributes(padding=1)) + bias
    y = sums.astype(np.float32) * scale + (residual.astype(np.float32) - np.float32(3)) * np.float32(0.25)
    want = np.clip(np.round(np.maximum(y, 0)) + np.float32(7), 0, 255).astype(np.uint8)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, want)


def test_a_layer_is_one_kernel_besides_padding() -> None:
    x, w, bias, scale, residual = layer()
    low = tgc.jit(lambda x, r: quantized(x, w, bias, scale, r)).lower(x, residual)
    found = launches(low, VNNI)
    assert ["pad" in f.kernel.name for f in found] == [True, False]
    assert re_tiles(found[1].source) == {"'vpdpbusd'"}
    assert {b.dtype for b in found[1].kernel.buffers} >= {np.dtype(np.uint8), np.dtype(np.int8)}


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.int32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_to_integers_is_one_operation(dtype: Any, kind: Any) -> None:
    x = RNG.uniform(-300, 300, 500).astype(dtype)
    x[:8] = 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 254.5, -128.5
    f = tgc.jit(lambda x: tnp.rint(x).astype(kind))
    np.testing.assert_array_equal(f(x), np.rint(x).astype(kind))
    (found,) = launches(f.lower(x), TARGET)
    assert "nearest(" in found.source
    assert "round_even" not in found.source


def re_tiles(source: str) -> set[str]:
    return {line.split(",")[-1].strip(" )") for line in source.splitlines() if "= byte_tile(" in line}


FORMS = {
    "vnni": (VNNI, "'vpdpbusd'"),
    "avx-vnni": (CpuTarget.of(TARGET.triple, X86_LEVELS["x86-64-v3"] | {"avxvnni"}), "'vpdpbusd'"),
    "avx512": (TARGET, "'pmaddwd'"),
    "baseline": (CpuTarget.of(TARGET.triple, frozenset()), "'pmaddwd'"),
    "neon": (NEON, "'mul'"),
}


@pytest.mark.parametrize(("target", "form"), FORMS.values(), ids=FORMS)
def test_each_machine_has_its_form(target: CpuTarget, form: str) -> None:
    low = tgc.jit(product("mk,kn->mn")).lower(whole((40, 64), np.uint8), whole((64, 96), np.int8))
    tiled = [x for x in launches(low, target) if "byte_tile" in x.source]
    assert [re_tiles(x.source) for x in tiled] == [{form}]
    for source, name in with_units((x.source, x.kernel.name) for x in tiled):
        assert compile_kernel(source, name, target).code


def test_sizes_are_no_part_of_the_code() -> None:
    """Other batches, images and numbers of channels have the same kernels, those of programs for any sizes too."""
    weights = whole((3, 3, 24, 40), np.int8), whole((3, 3, 64, 40), np.int8)

    def convolved(w: np.ndarray) -> Any:
        return tgc.jit(lambda x: contraction.conv(x.astype(I32), tnp.asarray(w).astype(I32), **attributes(padding=1)))

    shapes = (2, 14, 15, 24), (5, 30, 9, 24), (1, 7, 7, 64)
    texts = [
        [found.source for found in launches(convolved(weights[shape[-1] == 64]).lower(whole(shape, np.uint8)), VNNI)]
        for shape in shapes
    ]
    assert texts[0] == texts[1] == texts[2]
    f, g = convolved(weights[0]), tgc.jit(product("mk,kn->mn"))
    for shape in (*shapes[:2], (3, 8, 21, 24), (1, 5, 6, 24)):
        x = whole(shape, np.uint8)
        want = evaluate(contraction.conv, [x.astype(I32), weights[0].astype(I32)], attributes(padding=1))
        np.testing.assert_array_equal(f(x), want)
    for m, k, n in ((1, 4, 5), (2, 8, 7), (3, 9, 64), (7, 33, 2), (50, 20, 130), (200, 1, 3)):
        x, y = whole((m, k), np.int8), whole((k, n), np.uint8)
        np.testing.assert_array_equal(g(x, y), x.astype(I32) @ y.astype(I32))


def test_signs_that_no_instruction_has() -> None:
    """Two signed operands become an unsigned and a signed one; unsigned ones are widened."""
    for kinds, form in (((np.int8, np.int8), "'vpdpbusd'"), ((np.uint8, np.uint8), "'pmaddwd'")):
        x, y = (whole(shape, kind) for shape, kind in zip(((40, 64), (64, 96)), kinds, strict=True))
        found = launches(tgc.jit(product("mk,kn->mn")).lower(x, y), VNNI)
        assert [re_tiles(x.source) for x in found if "byte_tile" in x.source] == [{form}]


def test_few_channels_are_summed_along_rows_of_pixels() -> None:
    """7 rows of 7 RGB pixels are 7 * 6 quads, not 7 * 7."""
    x, w = whole((1, 20, 20, 3), np.uint8), whole((7, 7, 3, 16), np.int8)
    f = tgc.jit(lambda x: contraction.conv(x.astype(I32), tnp.asarray(w).astype(I32), **attributes(stride=2)))
    (conv,) = (n for n in f.lower(x).stages["decompose"].nodes if n.op is contraction.conv)
    assert conv.operands[1].shape == (7, 24, 1, 16)


def test_constants_that_fit_are_8_bit_integers() -> None:
    """Weights that have been cast to int32 as constants, moved about, are 8-bit integers again."""
    w = whole((20, 7), np.int8).astype(I32).T
    low = tgc.jit(lambda x: tnp.matmul(x.astype(I32), tnp.asarray(w))).lower(whole((5, 7), np.uint8))
    assert any("byte_tile" in x.source for x in launches(low, VNNI))
    wide = tgc.jit(lambda x: tnp.matmul(x.astype(I32), tnp.asarray(w * 2))).lower(whole((5, 7), np.uint8))
    assert not any("byte_tile" in x.source for x in launches(wide, VNNI))


def test_padding_that_is_no_zero() -> None:
    """What pads before the cast to int32, or behind it, is moved as 8-bit integers."""
    x, w = whole((1, 6, 6, 4), np.uint8), whole((3, 3, 4, 8), np.int8)
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    want = evaluate(contraction.conv, [np.pad(x, around, constant_values=9).astype(I32), w.astype(I32)], attributes())

    def before(x: Any) -> Any:
        return contraction.conv(tnp.pad(x, around, constant_values=9).astype(I32), w.astype(I32), **attributes())

    def behind(x: Any) -> Any:
        return contraction.conv(tnp.pad(x.astype(I32), around, constant_values=9), w.astype(I32), **attributes())

    for f in (before, behind):
        np.testing.assert_array_equal(tgc.jit(f)(x), want)
        assert any("byte_tile" in found.source for found in launches(tgc.jit(f).lower(x), VNNI))


def test_only_8_bit_integers_are_summed_in_another_dtype() -> None:
    x, y = np.ones((2, 3), np.int16), np.ones((3, 2), np.int16)
    with pytest.raises(DTypeError, match="only 8-bit integers are summed in another dtype"):
        contraction.dot(x, y, batch=((), ()), contract=((1,), (0,)), dtype=I32)
    with pytest.raises(DTypeError, match="which is i32"):
        evaluate(contraction.dot, [x.astype(np.int8), y.astype(np.uint8)],
                 {"batch": ((), ()), "contract": ((1,), (0,)), "dtype": np.float32})  # fmt: skip


@pytest.mark.parametrize("level", ["avx512", "avx2", "baseline"])
def test_older_machines_compute_the_same(level: str, tmp_path: Path) -> None:
    code = """
import numpy as np, test_quads as t
for kinds in t.KINDS:
    t.test_products_are_exact("mk,kn->mn", (17, 37), (37, 33), kinds)
    t.test_convolutions_are_exact((2, 9, 10, 8), (3, 3, 8, 16), t.attributes(padding=1), kinds)
    t.test_convolutions_are_exact((1, 17, 19, 3), (7, 7, 3, 20), t.attributes(stride=2, padding=3), kinds)
"""
    host = CpuTarget.host("native")
    if not host.triple.startswith("x86_64") or (level == "avx512" and host.vector_bits < 512):
        pytest.skip("the machine has no such level")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=os.environ | {"TGC_TARGET": level},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
