"""Strings, on the host: arrays of objects that are Python's strings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from tgc.frontends.onnx.errors import OnnxError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, objects


@converts("StringConcat", since=20, host=True)
def string_concat(x: Array, y: Array, /) -> Array:
    """ONNX StringConcat: operands broadcast."""
    x, y = np.broadcast_arrays(x, y)
    return objects((a + b for a, b in zip(x.flat, y.flat, strict=True)), x.shape)


_CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@converts("StringNormalizer", since=10, host=True)
def string_normalizer(
    x: Array,
    /,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "en_US",
    stopwords: tuple[str, ...] = (),
) -> Array:
    """ONNX StringNormalizer: [n] or [1, n] without the words to leave out; one empty string if none is left."""
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
        raise OnnxError(f"StringNormalizer takes a shape [n] or [1, n], not {x.shape}")
    if case_change_action not in _CASES:
        raise OnnxError(f"case_change_action is one of {', '.join(_CASES)}, not {case_change_action!r}")
    same: Callable[[str], str] = str if is_case_sensitive else str.lower
    left_out = set(map(same, stopwords))
    words = [_CASES[case_change_action](w) for w in x.flat if same(w) not in left_out] or [""]
    return objects(words, (*x.shape[:-1], len(words)))


@converts("StringSplit", since=20, host=True)
def string_split(x: Array, /, *, delimiter: str = "", maxsplit: int | None = None) -> tuple[Array, Array]:
    """ONNX StringSplit: (parts [*shape, most], padded with empty strings; int64 counts of them).

    Without a delimiter strings are split where there is white space.
    """
    most = -1 if maxsplit is None else maxsplit
    parts = [text.split(delimiter or None, most) if text else [] for text in x.flat]
    longest = max(map(len, parts), default=0)
    padded = [word for part in parts for word in part + [""] * (longest - len(part))]
    return objects(padded, (*x.shape, longest)), np.array([*map(len, parts)], np.int64).reshape(x.shape)


@converts("RegexFullMatch", since=20, host=True)
def regex_full_match(x: Array, /, *, pattern: str) -> Array:
    """ONNX RegexFullMatch, in the syntax of RE2 and in linear time."""
    from tgc.frontends.onnx.regex import Regex, RegexError  # few models have any

    try:
        regex = Regex(pattern)
    except RegexError as error:
        raise OnnxError(f"RegexFullMatch: {error}") from error
    return np.array([regex.matches(text) for text in x.flat], bool).reshape(x.shape)


@converts("TfIdfVectorizer", since=9, host=True)
def tf_idf_vectorizer(
    x: Array,
    /,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: tuple[int, ...],
    ngram_indexes: tuple[int, ...],
    pool_int64s: tuple[int, ...] = (),
    pool_strings: tuple[str, ...] = (),
    weights: tuple[float, ...] = (),
) -> Array:
    """ONNX TfIdfVectorizer: float32 [columns] of [n], [rows, columns] of [rows, n]: counts ("TF") of n-grams in a pool,
    their weights where they occur ("IDF"), or both multiplied ("TFIDF").
    """
    if mode not in ("TF", "IDF", "TFIDF") or x.ndim not in (1, 2) or min(ngram_indexes, default=-1) < 0:
        raise OnnxError(f"TfIdfVectorizer of mode {mode!r} and shape {x.shape}")
    pool = pool_strings or pool_int64s
    grams: dict[tuple[int | str, ...], int] = {}
    for n, start in enumerate(ngram_counts, 1):
        end = ngram_counts[n] if n < len(ngram_counts) else len(pool)
        for k in range(start, end - n + 1, n):
            grams[tuple(pool[k : k + n])] = len(grams)
    if len(grams) > len(ngram_indexes) or (weights and len(weights) < len(grams)):
        raise OnnxError(f"{len(grams)} n-grams, but {len(ngram_indexes)} columns and {len(weights)} weights")
    made = np.zeros((*x.shape[:-1], max(ngram_indexes) + 1), np.float32)
    for row, out in zip(x.reshape(-1, x.shape[-1]).tolist(), made.reshape(-1, made.shape[-1]), strict=True):
        found = Counter(
            gram
            for n in range(min_gram_length, max_gram_length + 1)
            for stride in range(1, 2 if n == 1 else max_skip_count + 2)
            for k in range(len(row) - (n - 1) * stride)
            if (gram := tuple(row[k : k + n * stride : stride])) in grams
        )
        for gram, count in found.items():
            k = grams[gram]
            weight = weights[k] if weights else 1.0
            out[ngram_indexes[k]] = count if mode == "TF" else weight if mode == "IDF" else count * weight
    return made
