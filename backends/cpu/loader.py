"""Object code -> addresses, without compiling anything and without importing Numba."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import llvmlite
import llvmlite.binding as llvm

from tgc.backends.cpu.target import CpuTarget
from tgc.errors import BackendError
from tgc.locks import Lock
from tgc.runtime.cache import KernelCache, content_key

if TYPE_CHECKING:
    from tgc.backends.cpu.workers import Workers

_ROOT = Path(__file__).parents[3]  # the folder that holds the package tgc
_IMPORT = re.compile(
    r"""^\s* (?: from \s+ (tgc\.backends[\w.]*) \s+ import \s+ (\([^)]*\) | .+) | import \s+ (tgc\.backends[\w.]*) )""",
    re.MULTILINE | re.VERBOSE,
)
# functions that make micro-kernels, and the modules of this package that have them
_MAKERS = {name: name for name in ("tile", "byte_tile", "window_tile", "turn", "words")}
_MAKERS |= dict.fromkeys(("matrix_tile", "byte_rows", "tile_config", "tile_release"), "amx")
_MICRO_KERNEL = re.compile(rf"^(\w+) = ({'|'.join(_MAKERS)})\(.*\)$", re.MULTILINE)
_COMPILER = "tgc.backends.cpu.compile"
FORM = ("driver", "launch", "plan", "program", "callback")  # modules of this package that say what a plan means
PLANNING = ("sizes", "ops", "passes", "runtime", "backends/loops", "backends/cpu")  # folders of what plans a graph


class Loader:
    """Links object code into this process, where it stays: an address is valid until the process ends.

    One loader serves all threads.
    """

    _linked: ClassVar[list[tuple[llvm.LLJIT, llvm.ResourceTracker]]] = []  # the owners of all code
    _names: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        self._jit = llvm.create_lljit_compiler(machine, use_jit_link=True, suppress_errors=True)
        self._addresses: dict[str, int] = {}
        self._lock = Lock()

    def has(self, symbol: str) -> bool:
        """Whether the code of a symbol is linked."""
        with self._lock:
            return symbol in self._addresses

    def load(self, objects: Mapping[str, bytes]) -> dict[str, int]:
        """Addresses of the given symbols, each defined by its object file, which may call others of them.

        A symbol names its content: one that was loaded before is not loaded again, and needs no file.

        Raises:
            BackendError: an object needs a symbol that this process lacks, or does not define its own.
        """
        with self._lock:
            new = {symbol: code for symbol, code in objects.items() if symbol not in self._addresses}
            if new:
                builder = llvm.JITLibraryBuilder().add_current_process()
                for symbol in objects.keys() & self._addresses.keys():
                    builder.import_symbol(symbol, self._addresses[symbol])
                for symbol, code in new.items():
                    builder.add_object_img(code).export_symbol(symbol)
                try:
                    library = builder.link(self._jit, f"tgc{next(self._names)}")
                except RuntimeError as error:
                    raise BackendError(f"cannot link the machine code of {', '.join(new)}: {error}") from error
                self._linked.append((self._jit, library))
                self._addresses |= {symbol: library[symbol] for symbol in new}
            return {symbol: self._addresses[symbol] for symbol in objects}


Unit: TypeAlias = tuple[str, str]  # a kernel, or a micro-kernel: its source, and its name
Entry: TypeAlias = tuple[str, str]  # what the cache has of one: its key, and the symbol that its machine code defines


def load_kernels(kernels: Iterable[Unit], target: CpuTarget, cache: KernelCache, loader: Loader) -> list[int]:
    """Addresses of the kernels `(source, name)`: from `cache`, or compiled and put there.

    Only a kernel that the cache lacks makes this import Numba.

    Raises:
        BackendError: a kernel does not compile or link.
    """
    kernels = list(kernels)
    found = load_units(kernels, target, cache, loader)
    return [found[kernel][1] for kernel in kernels]


def load_units(
    kernels: Iterable[Unit],
    target: CpuTarget,
    cache: KernelCache,
    loader: Loader,
    workers: Workers | None = None,
) -> dict[Unit, tuple[Entry, int]]:
    """The same, of kernels and of the micro-kernels that they call: where each is in the cache, and its address."""
    entries, objects = unit_objects(kernels, target, cache, loader.has, workers)
    addresses = loader.load(objects)
    return {unit: (entry, addresses[entry[1]]) for unit, entry in entries.items()}


def unit_objects(
    kernels: Iterable[Unit],
    target: CpuTarget,
    cache: KernelCache,
    linked: Callable[[str], bool] = lambda symbol: False,
    workers: Workers | None = None,
) -> tuple[dict[Unit, Entry], dict[str, bytes]]:
    """The entries of kernels and of the micro-kernels that they call, and their object code by symbol.

    What the cache lacks is compiled while `kernels` go on.

    Args:
        linked: whether the code of a symbol is not needed.
        workers: processes that wait for kernels to compile; they are at an end afterwards.

    Raises:
        BackendError: a kernel does not compile.
    """
    entries: dict[Unit, Entry] = {}
    objects: dict[str, bytes] = {}
    missing: list[Entry] = []

    def wanted() -> Iterator[Unit]:
        for kernel in kernels:
            for unit in with_units([kernel]) if kernel not in entries else ():
                if unit in entries:
                    continue
                [entries[unit]] = cache_entries([unit], target)
                key, symbol = entries[unit]
                code = b"" if linked(symbol) else cache.get(key)
                if code is None:
                    missing.append(entries[unit])
                    yield unit
                else:
                    objects[symbol] = code

    to_compile = wanted()
    first = next(to_compile, None)
    if first is None:
        if workers is not None:
            workers.close()
    else:
        from tgc.backends.cpu.compile_many import compile_kernels

        codes = compile_kernels(itertools.chain([first], to_compile), target, workers)
        for (key, symbol), code in zip(missing, codes, strict=True):
            objects[symbol] = code
            cache.put(key, code, {"symbol": symbol, **dict(toolchain()), "target": target.key})
    return entries, objects


def with_units(kernels: Iterable[Unit]) -> list[Unit]:
    """The kernels `(source, name)` and the micro-kernels that they call, these first, each once."""
    kernels = list(dict.fromkeys(kernels))
    return list(dict.fromkeys([*(unit for source, _ in kernels for unit in units_of(source)), *kernels]))


def units_of(source: str) -> list[Unit]:
    """The micro-kernels that a kernel's source makes, as `(source, name)` of their own (see `micro.py`)."""
    return [
        (f"from tgc.backends.cpu.{_MAKERS[maker]} import {maker}\n\n{match[0]}\n", match[1])
        for match in _MICRO_KERNEL.finditer(_head(source))
        for maker in [match[2]]
    ]


def load_entries(entries: Sequence[Entry], cache: KernelCache, loader: Loader) -> list[int] | None:
    """Addresses of kernels; None if the cache has not all of them."""
    objects: dict[str, bytes] = {}
    for key, symbol in entries:
        code = b"" if loader.has(symbol) else cache.get(key)
        if code is None:
            return None
        objects[symbol] = code
    addresses = loader.load(objects)
    return [addresses[symbol] for _, symbol in entries]


def cache_entries(kernels: Iterable[Unit], target: CpuTarget) -> list[Entry]:
    """The key and the symbol under which the cache has each of the kernels `(source, name)`."""
    keys = [(name, kernel_key(source, name, target)) for source, name in kernels]
    return [(key, _symbol(name, key)) for name, key in keys]


def kernel_key(source: str, name: str, target: CpuTarget) -> str:
    """Cache key of a kernel: a hash of all that its machine code depends on.

    That is the source, the text of the modules of tgc.backends that it imports, directly or not, and that the compiler
    imports, the versions of the tools, and the target.
    """
    modules = _imported(_head(source)) | {_COMPILER}
    return content_key(source, name, *_means(target), _text_key(frozenset(modules)))


@functools.cache
def _means(target: CpuTarget) -> tuple[str, ...]:
    """What compiles kernels, and for what."""
    return target.key, *(f"{tool} {version}" for tool, version in toolchain())


def _head(source: str) -> str:
    """What a kernel's source imports and makes, before its first function."""
    return source[: source.find("\ndef ") + 1] or source


def kernel_symbol(source: str, name: str, target: CpuTarget) -> str:
    """Name of a kernel's entry point in its object code: its own, and the beginning of its key."""
    return _symbol(name, kernel_key(source, name, target))


def _symbol(name: str, key: str) -> str:
    return f"{name}_{key[:32]}"


@functools.cache
def toolchain() -> tuple[tuple[str, str], ...]:
    """Names and versions of what compiles kernels. Numba's is read from its files: importing it takes 0.2 s."""
    found = importlib.util.find_spec("numba")
    if found is None or found.origin is None:
        raise BackendError("the CPU backend needs Numba, which is not installed")
    text = Path(found.origin).with_name("_version.py").read_text(encoding="utf-8")
    version = re.search(r'"version": *"([^"]+)"', text)
    return (
        (platform.python_implementation(), platform.python_version()),
        ("numba", version[1] if version else text),
        ("llvmlite", llvmlite.__version__),
    )


@functools.cache
def form_key() -> str:
    """A hash of the text of what runs plans: equal where a plan and kernels of one process run in another."""
    texts = (Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in FORM)
    return content_key(*texts)


@functools.cache
def source_key() -> str:
    """A hash of the text of all that plans a graph: the passes, the ops, the backends and what they stand on."""
    package = _ROOT / "tgc"
    digest = hashlib.sha256()
    for folder in (package, *(package / name for name in PLANNING)):
        with os.scandir(folder) as found:  # `Path.glob` takes as long as all of the rest
            files = sorted((file.name, file.path) for file in found if file.name.endswith(".py"))
        for name, path in files:
            with open(path, "rb", buffering=0) as file:
                text = file.read()
            digest.update(f"{folder.name}/{name} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


@functools.cache
def _text_key(modules: frozenset[str]) -> str:
    """A hash of the text of modules of tgc.backends and of all those that they import."""
    texts: dict[str, str] = {}
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module not in texts:
            texts[module], imported = _text_of(module)
            queue += imported
    return content_key(*(part for item in sorted(texts.items()) for part in item))


@functools.cache
def _text_of(module: str) -> tuple[str, frozenset[str]]:
    """A hash of a module's text, and what it imports: kernels import many sets of few modules."""
    path = _module_file(module)
    text = path.read_text(encoding="utf-8") if path else ""
    return content_key(text), frozenset(_imported(text))


def _imported(source: str) -> set[str]:
    """Names of the modules of tgc.backends that a text imports; `from a import b` counts as both `a` and `a.b`."""
    names: set[str] = set()
    for package, members, module in _IMPORT.findall(source):
        names.add(package or module)
        names |= {f"{package}.{member}" for member in re.findall(r"(\w+)(?:[ \t]+as[ \t]+\w+)?", members)}
    return names


def _module_file(module: str) -> Path | None:
    """The file of a module of tgc; None where the name is not a module's."""
    path = _ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
