"""Keras with tgc as its backend: `import tgc.keras` before anything imports Keras, then use either name.

    from tgc.keras import Model, layers

What is here is all Keras's own; `import keras` afterwards is the same Keras.
"""

import tgc.frontends.keras  # noqa: F401, I001  # selects the backend, so it comes first

import keras as _keras
from keras import *  # noqa: F403
from keras import __version__ as __version__

__path__ = _keras.__path__  # `from tgc.keras.layers import Dense` finds the same classes
