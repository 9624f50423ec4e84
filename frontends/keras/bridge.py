"""How Keras comes to use tgc: the only file that knows that Keras 3.15 has no API for backends of others.

Keras hard-codes the names of its backends. While it is imported its configuration says "numpy", and a finder answers
for `keras.src.backend.numpy` with modules of this package; afterwards the configured name is "tgc", so that every later
test of the name takes its general branch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from tgc.sizes import is_size

NAME = "tgc"
SUPPORTED = ((3, 15), (3, 16))  # from the first release to before the second
PACKAGE = "tgc.frontends.keras"
STAND_IN = "keras.src.backend.numpy"

# What Keras imports of the backend in whose place we are: its module -> ours, and names that differ.
MODULES: dict[str, tuple[str, dict[str, str]]] = {
    STAND_IN: (PACKAGE, {}),
    f"{STAND_IN}.core": (f"{PACKAGE}.ops.core", {}),
    f"{STAND_IN}.export": (f"{PACKAGE}.export", {"NumpyExportArchive": "ExportArchive"}),
    f"{STAND_IN}.layer": (f"{PACKAGE}.layer", {"NumpyLayer": "Layer"}),
    f"{STAND_IN}.trainer": (f"{PACKAGE}.trainer", {"NumpyTrainer": "Trainer"}),
}


class Redirect(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of `MODULES`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module that stands in for one of Keras's; None for all others."""
        if fullname not in MODULES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == STAND_IN)

    def exec_module(self, module: ModuleType) -> None:
        """Fill `module` with the names of ours."""
        ours, renamed = MODULES[module.__name__]
        source = importlib.import_module(ours)
        public = getattr(source, "__all__", None) or [n for n in vars(source) if not n.startswith("_")]
        module.__dict__.update({name: getattr(source, name) for name in public})
        module.__dict__.update({theirs: getattr(source, name) for theirs, name in renamed.items()})


def activate() -> None:
    """Import Keras with tgc as its backend; nothing happens if it has been.

    Raises:
        ImportError: Keras is not installed, its version is not supported, or it is loaded with another backend.
    """
    if "keras" in sys.modules:
        _check_loaded()
        return
    _check_version()
    kept = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "numpy"
    finder = Redirect()
    sys.meta_path.insert(0, finder)
    try:
        config = importlib.import_module("keras.src.backend.config")
        importlib.import_module("keras")
    finally:
        sys.meta_path.remove(finder)
        # Processes that are started from here import Keras by themselves: they get what this one was given.
        if kept is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = kept
    vars(config)["_BACKEND"] = NAME
    _refuse_distribution()
    _answer_dynamic_backends()
    _trace_equalization()
    _leave_symbols_open()
    _tell_whose_losses()


class _NoDevices:
    """In the place of a backend's functions that distribute tensors over devices."""

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(
            "`keras.distribution` is not supported with the tgc backend, which has one device; Keras on JAX has more"
        )


def _refuse_distribution() -> None:
    """Let `keras.distribution` say what is wrong: for the backend in whose place we are it has None to ask."""
    vars(importlib.import_module("keras.src.distribution.distribution_lib"))["distribution_lib"] = _NoDevices()


def _answer_dynamic_backends() -> None:
    """Let preprocessing layers, which look functions up by the backend's name, find those of this one.

    For them sizes of images are plain numbers: they take what is no int for a tensor of TensorFlow's.
    """
    dynamic = importlib.import_module("keras.src.utils.backend_utils").DynamicBackend
    backend, known = importlib.import_module("keras.src.backend"), dynamic.__getattr__

    def shape(x: Any) -> tuple[Any, ...]:
        batch = len(x.shape) != 3  # else it is one image
        return (*x.shape[:batch], *map(int, x.shape[batch:]))

    def function(self: Any, name: str) -> Any:
        if self.name != NAME:
            return known(self, name)
        return shape if name == "shape" else getattr(backend, name)

    dynamic.__getattr__ = function


def _trace_equalization() -> None:
    """Let the layer Equalization find the first bin that is not empty as it does for the backend named "jax".

    For most others it asks for all of them, whose number is unknown while tracing.
    """
    layer = importlib.import_module("keras").layers.Equalization
    backend, known = importlib.import_module("keras.src.backend"), layer._apply_equalization
    named = SimpleNamespace(name="jax", numpy=backend.numpy, cast=backend.cast)

    def _apply_equalization(self: Any, channel: Any, hist: Any) -> Any:
        traceable = SimpleNamespace(backend=named, bins=self.bins) if self.backend.name == NAME else self
        return known(traceable, channel, hist)

    layer._apply_equalization = _apply_equalization


def _leave_symbols_open() -> None:
    """Let shapes have None for sizes that are symbols of a trace: as plain numbers they would be pinned."""
    known = importlib.import_module("keras.src.backend").standardize_shape

    def standardize_shape(shape: Any) -> Any:
        return known([None if is_size(n) else n for n in shape] if isinstance(shape, tuple) else shape)

    for name, module in list(sys.modules.items()):
        if name.startswith("keras.src.") and getattr(module, "standardize_shape", None) is known:
            vars(module)["standardize_shape"] = standardize_shape


def _tell_whose_losses() -> None:
    """Let regions know the layers that add losses in them: outside, the losses are other tensors."""
    layer = importlib.import_module("keras").layers.Layer
    note_owner, known = importlib.import_module(f"{PACKAGE}.effects").note_owner, layer.add_loss

    def add_loss(self: Any, loss: Any) -> None:
        note_owner(self, loss)
        known(self, loss)

    layer.add_loss = functools.wraps(known)(add_loss)


def _check_version() -> None:
    try:
        installed = importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError("Keras is not installed: pip install 'tgc[keras]'", name="keras") from error
    version = tuple(int(part) for part in installed.split(".")[:2])
    first, last = SUPPORTED
    if not first <= version < last:
        wanted = f">={'.'.join(map(str, first))},<{'.'.join(map(str, last))}"
        raise ImportError(f"Keras {installed} is installed, but tgc supports keras{wanted}", name="keras")


def _check_loaded() -> None:
    """Raise ImportError unless the Keras that is loaded, or is being loaded, uses tgc."""
    if isinstance(getattr(sys.modules.get(STAND_IN), "__loader__", None), Redirect):
        return
    config = sys.modules.get("keras.src.backend.config")
    name = config.backend() if config is not None else "unknown"
    raise ImportError(
        f"Keras is already imported, with the backend {name!r}: put `import tgc.keras` before the first import of "
        "keras (or of anything that imports it)",
        name="keras",
    )
