"""Features and labels (domain ai.onnx.ml): scaling, encoding, and maps, which are Python's dictionaries on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError, UntraceableError
from tgc.frontends.onnx.objects import is_text
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Sequence, Tensor
from tgc.trace import Tracer

ML = "ai.onnx.ml"
Strings = tuple[str, ...]
Ints = tuple[int, ...]
Floats = tuple[float, ...]


def one_of(name: str, *given: Any) -> Any:
    """The attribute that is given: the first one that is not empty.

    Raises:
        InvalidModelError: none is.
    """
    for x in given:
        if x is not None and len(x):
            return x
    raise InvalidModelError(f"{name} needs one of several attributes, and has none of them")


def labelled(places: Tensor, labels: Any) -> Tensor:
    """The labels at computed places; int64 unless they are strings.

    Raises:
        UntraceableError: they are strings, and the places are traced.
    """
    if not isinstance(labels[0], str):
        return tnp.take(np.asarray(labels, np.int64), places)
    if isinstance(places, Tracer):
        raise UntraceableError("labels are strings, which only the host can make")
    return np.array(labels, object)[places]


@converts("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(x: Tensor, places: Tensor, /) -> Tensor:
    """ONNX ArrayFeatureExtractor: elements of the last axis; of a vector, as a matrix of one row."""
    return tnp.take(x if x.ndim > 1 else tnp.reshape(x, (1, -1)), tnp.reshape(places, -1), -1)


@converts("Binarizer", domain=ML)
def binarizer(x: Tensor, /, *, threshold: float = 0.0) -> Tensor:
    """ONNX Binarizer: 1 above the threshold, else 0."""
    return tnp.astype(tnp.greater(x, threshold), x.dtype)


@converts("FeatureVectorizer", domain=ML)
def feature_vectorizer(*inputs: Tensor, inputdimensions: Ints = ()) -> Tensor:
    """ONNX FeatureVectorizer: columns side by side, float32; of each operand as many as `inputdimensions` says."""
    rows = [x if x.ndim > 1 else tnp.reshape(x, (1, -1)) for x in inputs]
    rows = [x[:, :n] for x, n in zip(rows, inputdimensions or [x.shape[1] for x in rows], strict=True)]
    return tnp.concatenate([tnp.astype(x, np.float32) for x in rows], 1)


@converts("Imputer", domain=ML)
def imputer(
    x: Tensor,
    /,
    *,
    imputed_value_floats: Floats = (),
    imputed_value_int64s: Ints = (),
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """ONNX Imputer: one value, NaN or another, replaced, by one for all or one a column."""
    floats = x.dtype.kind == "f"
    values = np.asarray(one_of("Imputer", imputed_value_floats if floats else imputed_value_int64s), x.dtype)
    replaced = replaced_value_float if floats else replaced_value_int64
    return tnp.where(tnp.isnan(x) if np.isnan(replaced) else tnp.equal(x, replaced), values, x)


@converts("Normalizer", domain=ML)
def normalizer(x: Tensor, /, *, norm: str = "MAX") -> Tensor:
    """ONNX Normalizer: rows divided by their norm, unless that is 0."""
    x = tnp.astype(x, np.float32)
    size = tnp.abs(x)
    match norm:
        case "MAX":
            by = tnp.max(size, -1, keepdims=True)
        case "L1":
            by = tnp.sum(size, -1, keepdims=True)
        case "L2":
            by = tnp.sqrt(tnp.sum(tnp.square(x), -1, keepdims=True))
        case _:
            raise InvalidModelError(f"the norm of Normalizer is MAX, L1 or L2, not {norm!r}")
    return tnp.divide(x, tnp.where(by == 0, 1, by))


@converts("Scaler", domain=ML)
def scaler(x: Tensor, /, *, offset: Floats = (0.0,), scale: Floats = (1.0,)) -> Tensor:
    """ONNX Scaler: (x - offset) * scale, float32."""
    shifted = tnp.subtract(tnp.astype(x, np.float32), np.asarray(offset, np.float32))
    return tnp.multiply(shifted, np.asarray(scale, np.float32))


@converts("OneHotEncoder", domain=ML)
def one_hot_encoder(x: Tensor, /, *, cats_int64s: Ints = (), cats_strings: Strings = (), zeros: int = 1) -> Tensor:
    """ONNX OneHotEncoder: float32, one more axis; an element of no category is an error unless `zeros`."""
    categories = one_of("OneHotEncoder", cats_int64s, cats_strings)
    if is_text(x):
        hot = x[..., None] == np.array(categories, object)
    else:
        hot = tnp.equal(tnp.expand_dims(tnp.astype(x, np.int64), -1), np.asarray(categories, np.int64))
    if not zeros:
        if isinstance(hot, Tracer):
            raise UntraceableError("OneHotEncoder with zeros=0 must know its operand")
        if not np.asarray(hot).any(-1).all():
            raise InvalidModelError("OneHotEncoder with zeros=0 got an element of no category")
    return tnp.astype(hot, np.float32)


def _mapped(x: Tensor, keys: Any, values: Any, default: Any) -> Tensor:
    """Each element of `x` is a key, and becomes its value, or else `default`. The last of equal keys counts."""
    table = dict(zip(np.asarray(keys).tolist(), values, strict=True))
    if is_text(x):
        found = [table.get(v, default) for v in x.ravel()]
        return np.array(found, object if isinstance(default, str) else values.dtype).reshape(x.shape)
    order = np.argsort(np.array(list(table)))  # NaN comes last
    known = np.array(list(table), np.asarray(keys).dtype)[order]
    place = tnp.minimum(tnp.searchsorted(known, tnp.astype(x, known.dtype)), len(known) - 1)
    key = tnp.take(known, place)
    hit = tnp.equal(key, x)
    if known.dtype.kind == "f" and np.isnan(known[-1]):
        hit = tnp.logical_or(hit, tnp.logical_and(tnp.isnan(key), tnp.isnan(x)))
    listed = [v for _, v in sorted(zip(order.argsort(), table.values(), strict=True))]
    if isinstance(default, str):
        return labelled(tnp.where(hit, place, len(listed)), [*listed, default])
    return tnp.where(hit, tnp.take(np.asarray(listed, values.dtype), place), values.dtype.type(default))


@converts("LabelEncoder", since=2, domain=ML)
def label_encoder(
    x: Tensor,
    /,
    *,
    keys_floats: Floats = (),
    keys_int64s: Ints = (),
    keys_strings: Strings = (),
    keys_tensor: Array | None = None,
    values_floats: Floats = (),
    values_int64s: Ints = (),
    values_strings: Strings = (),
    values_tensor: Array | None = None,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Array | None = None,
) -> Tensor:
    """ONNX LabelEncoder: keys become values; what is no key becomes the default of the values' type."""
    kinds = ((keys_floats, np.float32), (keys_int64s, np.int64), (keys_strings, object))
    keys = one_of("LabelEncoder", keys_tensor, *(np.asarray(k, dtype) for k, dtype in kinds))
    kinds = ((values_floats, np.float32), (values_int64s, np.int64), (values_strings, object))
    values = one_of("LabelEncoder", values_tensor, *(np.asarray(v, dtype) for v, dtype in kinds))
    default: Any = {"f": default_float, "i": default_int64}.get(values.dtype.kind, default_string)
    return _mapped(x, keys, values, default if default_tensor is None else default_tensor.ravel()[0])


@converts("LabelEncoder", domain=ML)
def label_encoder_1(
    x: Tensor, /, *, classes_strings: Strings, default_int64: int = -1, default_string: str = "_Unused"
) -> Tensor:
    """ONNX LabelEncoder until version 1: strings become their places in a list, and places the strings."""
    places, strings = np.arange(len(classes_strings)), np.array(classes_strings, object)
    return _mapped(x, strings, places, default_int64) if is_text(x) else _mapped(x, places, strings, default_string)


@converts("CategoryMapper", domain=ML)
def category_mapper(
    x: Tensor,
    /,
    *,
    cats_int64s: Ints,
    cats_strings: Strings,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Tensor:
    """ONNX CategoryMapper: integers become strings, and strings integers."""
    numbers, strings = np.asarray(cats_int64s, np.int64), np.array(cats_strings, object)
    return _mapped(x, strings, numbers, default_int64) if is_text(x) else _mapped(x, numbers, strings, default_string)


def _dictionary(x: Any) -> Mapping[Any, Any]:
    """A map, as it enters a model."""
    return x.item() if isinstance(x, np.ndarray) else x  # type: ignore[no-any-return]


@converts("CastMap", domain=ML, host=True)
def cast_map(x: Any, /, *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1) -> Array:
    """ONNX CastMap: [1, n], values in the order of their keys; of form "SPARSE", at the places that the keys are."""
    dtype: Any = {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": object}[cast_to]
    items = {int(k): str(v) if dtype is object else dtype(v) for k, v in _dictionary(x).items()}
    if map_form == "DENSE":
        return np.array([[items[k] for k in sorted(items)]], dtype)
    return np.array([[items.get(k, "" if dtype is object else 0) for k in range(max_map)]], dtype)


@converts("DictVectorizer", domain=ML, host=True)
def dict_vectorizer(x: Any, /, *, int64_vocabulary: Ints = (), string_vocabulary: Strings = ()) -> Array:
    """ONNX DictVectorizer: the value of each word of the vocabulary, 0 where there is none."""
    words = one_of("DictVectorizer", int64_vocabulary, string_vocabulary)
    items = _dictionary(x)
    none: Any = "" if any(isinstance(v, str) for v in items.values()) else 0
    return np.array([items.get(word, none) for word in words], object if none == "" else None)


@converts("ZipMap", domain=ML, host=True)
def zip_map(x: Array, /, *, classlabels_int64s: Ints = (), classlabels_strings: Strings = ()) -> Sequence:
    """ONNX ZipMap: for each row a map from labels to its elements."""
    labels = one_of("ZipMap", classlabels_int64s, classlabels_strings)
    return Sequence(dict(zip(labels, row, strict=True)) for row in np.atleast_2d(x).tolist())
