"""Images: resizing, sampling, colours, blur. Pixel centers lie at half-integers of a continuous image plane.

Images are [batch, *spatial, channels] ("NHWC") unless a function says otherwise; values may have any scale.
"""

from tgc.nn.image.colors import *  # noqa: F403
from tgc.nn.image.filters import *  # noqa: F403
from tgc.nn.image.resizing import *  # noqa: F403
from tgc.nn.image.sampling import *  # noqa: F403
from tgc.nn.image.views import *  # noqa: F403
