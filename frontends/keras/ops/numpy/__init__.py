"""Keras's functions of NumPy: `tgc.numpy` behind Keras's dtype rules."""

from tgc.frontends.keras.ops.numpy.creation import *  # noqa: F403
from tgc.frontends.keras.ops.numpy.elementwise import *  # noqa: F403
from tgc.frontends.keras.ops.numpy.manipulation import *  # noqa: F403
from tgc.frontends.keras.ops.numpy.products import *  # noqa: F403
from tgc.frontends.keras.ops.numpy.reductions import *  # noqa: F403
from tgc.frontends.keras.ops.numpy.searching import *  # noqa: F403
