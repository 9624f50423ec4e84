"""Keras's neural-network ops."""

from tgc.frontends.keras.ops.nn.activations import *  # noqa: F403
from tgc.frontends.keras.ops.nn.alignment import *  # noqa: F403
from tgc.frontends.keras.ops.nn.attention import *  # noqa: F403
from tgc.frontends.keras.ops.nn.convolution import *  # noqa: F403
from tgc.frontends.keras.ops.nn.losses import *  # noqa: F403
from tgc.frontends.keras.ops.nn.normalization import *  # noqa: F403
from tgc.frontends.keras.ops.nn.patches import *  # noqa: F403
from tgc.frontends.keras.ops.nn.pooling import *  # noqa: F403
