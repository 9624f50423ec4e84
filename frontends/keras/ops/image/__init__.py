"""Keras's image ops: one image [height, width, channels], or a batch of them, in either data format."""

from tgc.frontends.keras.ops.image.colors import *  # noqa: F403
from tgc.frontends.keras.ops.image.filters import *  # noqa: F403
from tgc.frontends.keras.ops.image.resizing import *  # noqa: F403
from tgc.frontends.keras.ops.image.sampling import *  # noqa: F403
