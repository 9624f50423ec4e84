"""Arrays in files: `.npy`, `.npz`, `.safetensors`, and images where Pillow is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from tgc.cli.command import CommandError
from tgc.types import TensorType, is_complex, is_float, type_of

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def inputs_from(
    files: Sequence[str], types: Mapping[str, TensorType], *, random: bool = False, seed: int = 0
) -> dict[str, np.ndarray]:
    """The arrays of a model's inputs, by name.

    Args:
        files: `name=file`, or a file: of several arrays under the names of inputs, or of one for the only input.
        random: whether inputs that no file gives are made up.

    Raises:
        CommandError: inputs are missing or of other types, or a file cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    for text in files:
        name, equals, path = text.rpartition("=")
        if equals and name not in types:
            raise CommandError(f"the model has no input {name!r}; it has {_listed(types)}")
        arrays = _read(Path(path), types.get(name) if equals else None, types)
        if equals and len(arrays) > 1:
            if name not in arrays:
                raise CommandError(f"{path} holds {', '.join(arrays)}, and no {name!r}")
            arrays = {name: arrays[name]}
        elif len(arrays) == 1 and (equals or len(types) == 1):
            arrays = {name or next(iter(types)): next(iter(arrays.values()))}
        elif not arrays.keys() & types.keys():
            raise CommandError(f"{path} holds no input; the model has {_listed(types)}: --input NAME={path}")
        found |= {n: a for n, a in arrays.items() if n in types}
    if missing := [n for n in types if n not in found]:
        if not random:
            raise CommandError(
                f"{', '.join(f'{n} ({types[n]})' for n in missing)} not given: --input {missing[0]}=FILE, or --random"
            )
        found |= made_up({n: types[n] for n in missing}, seed)
    for name, type in types.items():
        got = type_of(found[name])
        if got != type:
            raise CommandError(f"input {name} is {got}; the model takes {type}")
    return {name: found[name] for name in types}


def made_up(types: Mapping[str, TensorType], seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of random numbers: normally distributed, integers 0 or 1. Each depends on its name, type and the seed."""
    arrays = {}
    for name, t in types.items():
        rng = np.random.default_rng([seed, *name.encode()])
        if is_complex(t.dtype):
            array: Any = rng.standard_normal(t.shape) + 1j * rng.standard_normal(t.shape)
        else:
            array = rng.standard_normal(t.shape) if is_float(t.dtype) else rng.integers(0, 2, t.shape)
        arrays[name] = np.asarray(array).astype(t.dtype)
    return arrays


def _listed(types: Mapping[str, TensorType]) -> str:
    return ", ".join(f"{name} ({t})" for name, t in types.items()) or "none"


def _read(path: Path, type: TensorType | None, types: Mapping[str, TensorType]) -> dict[str, np.ndarray]:
    """The arrays of a file, by name; that of a file which has no names is called as the file."""
    try:
        match path.suffix.lower():
            case ".npy":
                return {path.stem: np.load(path, allow_pickle=False)}
            case ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return dict(arrays)
            case ".safetensors":
                return safetensors.numpy.load_file(path)
            case suffix if suffix in IMAGES:
                if type is None and len(types) > 1:
                    raise CommandError(f"which input is {path}? --input NAME={path}; the model has {_listed(types)}")
                return {path.stem: _image(path, type or next(iter(types.values())))}
    except (ValueError, EOFError, SafetensorError, KeyError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    raise CommandError(f"{path}: arrays are read from .npy, .npz, .safetensors and images ({', '.join(IMAGES)})")


def _image(path: Path, type: TensorType) -> np.ndarray:
    """A picture as a model takes it: resized, channels last or first as the shape says, floats between 0 and 1."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise CommandError(f"reading {path} needs Pillow: pip install pillow") from error
    *batch, a, b, c = (1, 1, 1, *type.shape)
    first = a in (1, 3, 4) and c not in (1, 3, 4)
    if type.rank < 3 or (not first and c not in (1, 3, 4)) or any(n != 1 for n in batch):
        raise CommandError(f"{path} is a picture, which an input of type {type} is not: 1, 3 or 4 channels, no batch")
    channels, height, width = (a, b, c) if first else (c, a, b)
    try:
        with Image.open(path) as image:
            picture = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]).resize((width, height))
    except UnidentifiedImageError as error:
        raise CommandError(f"{path} cannot be read: it is no picture") from error
    pixels = np.asarray(picture).reshape(height, width, channels)
    array = (pixels.transpose(2, 0, 1) if first else pixels).reshape(type.shape)
    return np.asarray((array / 255 if is_float(type.dtype) else array).astype(type.dtype))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a file, in the format that its suffix names.

    Raises:
        CommandError: there is no such format, or it holds one array and these are several.
    """
    match path.suffix.lower():
        case ".npz":
            np.savez(path, allow_pickle=False, **arrays)
        case ".safetensors":
            safetensors.numpy.save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path)
        case ".npy" if len(arrays) == 1:
            np.save(path, next(iter(arrays.values())), allow_pickle=False)
        case ".npy":
            raise CommandError(f"{path}: .npy holds one array, the model returns {len(arrays)}: use .npz")
        case _:
            raise CommandError(f"{path}: results are written as .npy, .npz or .safetensors")
