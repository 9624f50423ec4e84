"""Windows for the analysis of signals. Their sizes are static: they are constants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tgc.numpy.base import static

__all__ = ["bartlett", "blackman", "hamming", "hanning", "kaiser"]


def _window(name: str, doc: str) -> Callable[[int], np.ndarray]:
    def function(M: int) -> np.ndarray:
        return np.asarray(getattr(np, name)(*static(name, M)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"float64[M]: {doc}"
    return function


bartlett = _window("bartlett", "a triangle that is zero at both ends.")
blackman = _window("blackman", "three terms of cosines, with little leakage.")
hamming = _window("hamming", "a raised cosine whose first side lobe is cancelled.")
hanning = _window("hanning", "a raised cosine that is zero at both ends.")


def kaiser(M: int, beta: float) -> np.ndarray:
    """float64[M]: a Bessel function whose main lobe widens with `beta`."""
    return np.asarray(np.kaiser(*static("kaiser", M, beta)))
