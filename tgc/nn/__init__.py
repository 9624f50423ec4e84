"""Neural-network functions on traced tensors, and on NumPy arrays when nothing is being traced.

Plain functions of tensors and parameters, without state; `tgc.nn.initializers` makes the parameters.
"""

from tgc.nn import image as image
from tgc.nn import initializers as initializers
from tgc.nn.activations import *  # noqa: F403
from tgc.nn.adaptive import *  # noqa: F403
from tgc.nn.alignment import *  # noqa: F403
from tgc.nn.attention import *  # noqa: F403
from tgc.nn.convolution import *  # noqa: F403
from tgc.nn.decoding import *  # noqa: F403
from tgc.nn.entropies import *  # noqa: F403
from tgc.nn.gating import *  # noqa: F403
from tgc.nn.layers import *  # noqa: F403
from tgc.nn.lengths import *  # noqa: F403
from tgc.nn.losses import *  # noqa: F403
from tgc.nn.margins import *  # noqa: F403
from tgc.nn.normalization import *  # noqa: F403
from tgc.nn.patches import *  # noqa: F403
from tgc.nn.pooling import *  # noqa: F403
from tgc.nn.positions import *  # noqa: F403
from tgc.nn.recurrent import *  # noqa: F403
from tgc.nn.regularization import *  # noqa: F403
from tgc.nn.softmaxes import *  # noqa: F403
