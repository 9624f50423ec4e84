"""A backend of Keras 3: importing this package imports Keras with tgc as its backend.

The names here are what Keras expects of a backend's package, found in their modules when they are asked for, since
Keras asks in the middle of its own import; and `from_keras`.
"""

import importlib
from typing import Any

from tgc.frontends.keras.ops.signatures import unannotate

_MODULES = {
    "core": "ops.core",
    "image": "ops.image",
    "linalg": "ops.linalg",
    "math": "ops.math",
    "nn": "ops.nn",
    "numpy": "ops.numpy",
    "random": "random",
}
_NAMES = {
    "ops.core": (
        "IS_THREAD_SAFE", "SUPPORTS_COMPLEX_DTYPES", "SUPPORTS_RAGGED_TENSORS", "SUPPORTS_SPARSE_TENSORS", "Variable",
        "cast", "compute_output_spec", "cond", "convert_to_numpy", "convert_to_tensor", "device_scope", "is_tensor",
        "name_scope", "random_seed_dtype", "scatter", "shape", "stop_gradient", "vectorized_map",
    ),
    "rnn": ("bidirectional_gru", "bidirectional_lstm", "cudnn_ok", "gru", "lstm", "rnn"),
    "export": ("from_keras",),
}  # fmt: skip
_HOME = {name: module for module, names in _NAMES.items() for name in names}

# What stands in for Keras's backend takes these, while `export`, which imports layers, cannot be imported yet.
__all__ = [*_MODULES, *(name for name in _HOME if name != "from_keras")]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        globals()[name] = module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        unannotate(vars(module).values())
    elif name in _HOME:  # all names of its module, since importing it makes `rnn` here the module of that name
        home = importlib.import_module(f"{__name__}.{_HOME[name]}")
        globals().update({other: getattr(home, other) for other in _NAMES[_HOME[name]]})
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


from tgc.frontends.keras import bridge  # noqa: E402  # Keras, as it is imported, reads the names above

bridge.activate()
