"""What a MODEL on the command line names: a file, or a function of Python.

Files of other formats are read by frontends: entry points of the group `tgc.models`, named by the suffix without its
point. Each is a function `read(path, shapes)`: `shapes` maps names of inputs (and, where the format names sizes, of
these) to what `--shape` gave; it returns a graph and the names of its results.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import optree
from click.shell_completion import CompletionItem

from tgc.cli.command import CommandError
from tgc.errors import TgcError
from tgc.ir import Graph
from tgc.jit import Jit, LoweredFunction, jit
from tgc.text import load_graph
from tgc.types import BY_SHORT_NAME, F32, DType, TensorType, as_dtype, tensor_type


class Spec(NamedTuple):
    """What `--shape` says of an input."""

    shape: tuple[int, ...]
    dtype: DType | None = None

    def typed(self, dtype: DType = F32) -> TensorType:
        """The type, of this dtype unless another one was given."""
        return tensor_type(self.dtype or dtype, self.shape)


class ShapeType(click.ParamType[tuple[str, Spec]]):
    """`x=1,3,224,224` or `x=f32[1,3,224,224]`."""

    name = "NAME=SHAPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Spec]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([\w.:/-]+)=(?:(\w+)\[([\d, ]*)\]|(\d[\d, ]*))", value)
        if found is None:
            self.fail(f"{value!r} is no NAME=SHAPE such as x=1,3,224,224 or x=f32[1,3,224,224] (x=f32[] is a number)")
        name, dtype, inner, plain = found.groups()
        if dtype is not None and dtype not in BY_SHORT_NAME:
            self.fail(f"{dtype!r} is no dtype; there are {', '.join(BY_SHORT_NAME)}")
        sizes = tuple(int(n) for n in (inner if plain is None else plain).replace(" ", "").split(",") if n)
        return name, Spec(sizes, as_dtype(dtype) if dtype else None)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What shells complete by the names of files."""
    return [CompletionItem(incomplete, type="file")]


def model_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the argument MODEL, and the options that say how it is lowered."""
    for option in (
        click.option("--passes", metavar="PIPELINE", help="Run these passes instead of the default ones."),
        click.option("--backend", default="cpu", show_default=True, help="The backend to compile for."),
        click.option(
            "--shape", "shapes", type=ShapeType(), multiple=True,
            help="Shape of an input, float32 unless given: x=1,3,224,224 or x=i32[8,128]. Once for each input.",
        ),
        click.argument("model", shell_complete=files),
    ):  # fmt: skip
        f = option(f)
    return f


def read_model(
    model: str, shapes: Sequence[tuple[str, Spec]] = (), backend: str = "cpu", passes: str | None = None
) -> LoweredFunction:
    """The model as it was traced, ready to be lowered.

    Raises:
        CommandError: there is no such model, or it needs other shapes.
    """
    given = dict(shapes)
    suffix = Path(model).suffix
    reader = next((e for e in entry_points(group="tgc.models") if f".{e.name}" == suffix), None)
    if suffix == ".tgir":
        found = of_graph(load_graph(model))
    elif reader is not None:
        found = of_graph(*_loaded(reader, model, given))
    elif ":" in model:
        found = _of_function(model, given)
    else:
        known = sorted({".tgc", ".tgir", *(f".{e.name}" for e in entry_points(group="tgc.models"))})
        raise CommandError(
            f"{model!r} is no model: a file ({', '.join(known)}), package.module:function or file.py:function"
        )
    if ":" not in model:
        _check(found, given)
    return replace(found, backend=backend, pipeline=passes)


def of_graph(graph: Graph, results: Sequence[str] = ()) -> LoweredFunction:
    """A graph as a function of its inputs; its results are named, or a tuple, or the only one."""
    arguments: Any = (tuple(graph.inputs), {})
    whole: Any = OrderedDict(zip(results, graph.outputs, strict=True)) if results else tuple(graph.outputs)
    if not results and len(graph.outputs) == 1:
        whole = graph.outputs[0]
    return LoweredFunction(graph, arguments=optree.tree_structure(arguments), results=optree.tree_structure(whole))


def _loaded(reader: Any, model: str, given: Mapping[str, Spec]) -> tuple[Graph, Sequence[str]]:
    if not Path(model).exists():
        raise FileNotFoundError(2, "No such file or directory", model)
    try:
        found: tuple[Graph, Sequence[str]] = reader.load()(model, {name: spec.shape for name, spec in given.items()})
    except ModuleNotFoundError as error:
        extra = f"tgc[{reader.name}]"
        raise CommandError(f"reading {model} needs a package: {error}; pip install '{extra}'") from error
    except (TgcError, ValueError) as error:
        if "`shapes`" not in str(error):
            raise
        raise CommandError(f"{model} leaves sizes open, which --shape NAME=SHAPE gives: {error}") from error
    return found


def _check(found: LoweredFunction, given: Mapping[str, Spec]) -> None:
    """Refuse what `--shape` says of a file's inputs if it is not so."""
    for v in found.graph.inputs:
        spec = given.get(v.name)
        if spec is not None and spec.typed(v.dtype) != v.type:
            raise CommandError(f"input {v.name} of this model is {v.type}, not {spec.typed(v.dtype)}")


# ---------------------------------------------------------------------------------------------------------- functions


def _of_function(model: str, given: Mapping[str, Spec]) -> LoweredFunction:
    place, _, name = model.rpartition(":")
    f: Any = _module(place)
    for part in name.split("."):
        if not hasattr(f, part):
            names = sorted(n for n, x in vars(f).items() if callable(x) and getattr(x, "__module__", "") == f.__name__)
            there = f"; it has {', '.join(names)}" if isinstance(f, ModuleType) and names else ""
            raise CommandError(f"{place} has no {name!r}{there}")
        f = getattr(f, part)
    if isinstance(f, Graph):
        return of_graph(f)
    if not callable(f):
        raise CommandError(f"{model} is no function: it is of type {type(f).__name__}")
    args = _arguments(f, given, model)
    lowered: LoweredFunction = (f if isinstance(f, Jit) else jit(f)).lower(*args[0], **args[1])
    return lowered


def _module(place: str) -> ModuleType:
    """The module of a dotted name, the working directory among its places, or of a file."""
    if not place.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            raise CommandError(f"there is no module {error.name!r} (the working directory counts)") from error
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", place)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `python file.py` has it
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _arguments(f: Any, given: Mapping[str, Spec], model: str) -> tuple[list[Any], dict[str, Any]]:
    """Types in the place of the arguments, as `--shape` gives them; parameters that have defaults may be left out.

    `params.w=8,64` is the entry `w` of a dict that is the argument `params`.
    """
    whole: dict[str, Any] = {}
    for name, spec in given.items():
        *outer, last = name.split(".")
        level = whole
        for part in outer:
            level = level.setdefault(part, {})
        level[last] = spec.typed()
    parameters = inspect.signature(f).parameters
    if unknown := whole.keys() - parameters.keys():
        raise CommandError(f"{model} has no parameter {min(unknown)!r}; it has {', '.join(parameters)}")
    args: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in whole:
            if parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD,
            ):  # fmt: skip
                raise CommandError(f"{model} needs the shape of its argument {name}: --shape {name}=f32[8,16]")
        elif parameter.kind is parameter.KEYWORD_ONLY or len(args) < list(parameters).index(name):
            named[name] = whole[name]
        else:
            args.append(whole[name])
    return args, named
