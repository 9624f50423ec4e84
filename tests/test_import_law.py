"""The import law: data goes one way through the compiler, and so do its imports.

``LAYERS`` ranks the modules of ``tgc``. A module imports from its own layer and those below; within a layer the
imports form no cycle. Every import counts: at the top of a module, inside a function, under ``TYPE_CHECKING``, or by
``import_module`` with a literal name.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FACADE = "__init__"  # tgc/__init__.py, the public names
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"collector", "config", "errors", "locks", "sizes"}),
    frozenset({"types"}),
    frozenset({"ir"}),
    frozenset({"ops"}),
    frozenset({"drawing", "interpret", "text", "verify"}),
    frozenset({"trace"}),
    frozenset(
        {
            "autodiff",
            "batching",
            "checkpoint",
            "composite",
            "control",
            "forward",
            "nn",
            "numpy",
            "passes",
            "random",
            "regions",
        }
    ),
    frozenset({"runtime"}),
    frozenset({"view"}),
    frozenset({"compiled", "eager", "families", "gradients", "jit", "loaded", "transforms"}),
    frozenset({FACADE}),
    frozenset({"__main__", "cli"}),
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}

# The two plug-in packages, which tgc itself reaches only by names: entry points, and `tgc.backends.NAME`.
PLUGINS = frozenset({"backends", "frontends"})
# Modules of tgc that users import to get at a plug-in, and which belong to it: nothing else of tgc imports them.
DOORS = {"tgc.keras": "frontends"}
# Backends that stand side by side; what they share lies beside them in tgc.backends.
DEVICES = frozenset({"cpu", "cuda"})
# Packages of others, each known to one place in the project.
FOREIGN = {
    "cuda": "tgc.backends.cuda",
    "cudnn": "tgc.backends.cuda",
    "numba.cuda": "tgc.backends.cuda",
    "numba_cuda": "tgc.backends.cuda",
    "nvmath": "tgc.backends.cuda",
    "keras": "tgc.frontends.keras",
    "onnx": "tgc.frontends.onnx",
    "torch": "tgc.frontends.torch",
}


def module_name(path: Path) -> str:
    """The dotted name of ``path``, a source file under tgc; the file of a package ends in ``.__init__``."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that ``source`` imports; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                parents = module.split(".")[:-level] if level else []
                yield from ((node.lineno, ".".join([*parents, *([base] if base else []), a.name])) for a in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")) if (
                node.args and isinstance(name := node.args[0], ast.Constant) and isinstance(name.value, str)
            ):
                yield node.lineno, name.value


def inside(name: str, package: str) -> bool:
    """Whether ``name`` is ``package`` or something in it."""
    return name == package or name.startswith(f"{package}.")


def unit_of(name: str) -> str | None:
    """The row of ``RANK`` (or the plug-in package) that the dotted ``name`` belongs to; None outside tgc."""
    match name.split("."):
        case ["tgc", door, *_] if (unit := DOORS.get(f"tgc.{door}")) is not None:
            return unit
        case ["tgc", unit, *_] if unit in RANK or unit in PLUGINS:
            return unit
        case ["tgc", dunder] if dunder.startswith("__"):  # `from tgc import __version__`: set before any import
            return None
        case ["tgc", *_]:
            return FACADE
    return None


def complaint(module: str, target: str) -> str | None:
    """Why ``module`` may not import ``target``; None if it may."""
    own, other = unit_of(module), unit_of(target)
    assert own is not None, f"{module} is not a module of tgc"
    if target.split(".")[0] in PLUGINS:
        return f"{target} is a second name of tgc.{target}"
    for package, home in FOREIGN.items():
        if inside(target, package) and not inside(module, home) and not inside(module, f"tgc.{package}"):
            return f"{package} is known to {home} alone"
    if own in PLUGINS:
        if other in PLUGINS - {own}:
            return f"{own} and {other} do not know each other"
        pairs = ((f"tgc.backends.{a}", f"tgc.backends.{b}") for a, b in permutations(DEVICES, 2))
        if any(inside(module, a) and inside(target, b) for a, b in pairs):
            return "backends do not know each other: shared code goes beside them in tgc.backends"
        return None
    if other in PLUGINS:
        return f"tgc reaches its {other} through entry points only"
    if other is not None and RANK[other] > RANK[own]:
        return f"{other} (layer {RANK[other]}) is above {own} (layer {RANK[own]})"
    return None


SOURCES = {module_name(p): p.read_text(encoding="utf-8") for p in sorted((ROOT / "tgc").rglob("*.py"))} | {
    module_name(ROOT / "tgc" / p.relative_to(ROOT)): p.read_text(encoding="utf-8")
    for plugin in sorted(PLUGINS)
    for p in sorted((ROOT / plugin).rglob("*.py"))
}


def test_every_module_has_a_layer() -> None:
    known = RANK.keys() | PLUGINS | {door.split(".")[1] for door in DOORS}
    unknown = sorted({module.split(".")[1] for module in SOURCES} - known)
    assert not unknown, f"tgc/{unknown[0]} has no layer: add it to LAYERS in tests/test_import_law.py"


@pytest.mark.parametrize("module", SOURCES)
def test_law(module: str) -> None:
    found = imports(module, SOURCES[module])
    broken = [f"{module}:{line}: {why}" for line, target in found if (why := complaint(module, target))]
    assert not broken, "\n".join(broken)


def test_no_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for module, source in SOURCES.items():
        own = unit_of(module)
        assert own is not None
        targets = {unit_of(target) for _, target in imports(module, source)} - {None, own}
        graph.setdefault(own, set()).update(t for t in targets if t is not None)
    TopologicalSorter(graph).prepare()  # CycleError names the cycle


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tgc.types", "import tgc.ir"),
        ("tgc.ir", "from tgc import ops"),
        ("tgc.ops.math", "def f():\n    from tgc.trace import trace"),
        ("tgc.ops.math", "from ..trace import trace"),
        ("tgc.passes.__init__", "from ..runtime import program"),
        ("tgc.trace", "import importlib\nimportlib.import_module('tgc.autodiff')"),
        ("tgc.passes.fuse", "import tgc"),
        ("tgc.runtime.program", "from tgc.backends import cpu"),
        ("tgc.jit", "import backends.cpu"),
        ("tgc.numpy", "import torch.utils.dlpack"),
        ("tgc.backends.loops", "import numba.cuda"),
        ("tgc.backends.cpu.emit", "from numba import cuda"),
        ("tgc.backends.cpu.emit", "from tgc.backends.cuda import emit"),
        ("tgc.backends.cuda.emit", "from ..cpu import emit"),
        ("tgc.backends.cpu.emit", "import tgc.frontends"),
        ("tgc.frontends.keras.layers", "from tgc import backends"),
        ("tgc.frontends.onnx.ops", "import keras"),
    ],
)
def test_breaking_the_law_is_noticed(module: str, source: str) -> None:
    assert any(complaint(module, target) for _, target in imports(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tgc.ops.math", "from tgc.ir import Graph\nfrom . import core\nimport numpy"),
        ("tgc.passes.fuse", "from tgc.numpy import add\nfrom tgc import __version__"),
        ("tgc.__init__", "from tgc.jit import jit\nimport tgc.numpy"),
        ("tgc.backends.cpu.emit", "import numba\nfrom tgc.backends import loops\nfrom tgc.runtime import Program"),
        ("tgc.backends.cuda.emit", "from numba import cuda\nfrom cuda.core import Linker"),
        ("tgc.frontends.keras.layers", "import keras\nimport tgc.nn"),
    ],
)
def test_keeping_the_law_is_allowed(module: str, source: str) -> None:
    assert not [why for _, target in imports(module, source) if (why := complaint(module, target))]


@pytest.mark.parametrize("source", ["import backends", "from frontends.keras import layers", "from . import loops"])
def test_linter_refuses_second_names(source: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select=TID", "--stdin-filename=backends/cpu/emit.py", "-"]
    result = subprocess.run(command, cwd=ROOT, input=source + "\n", capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "TID25" in result.stdout
