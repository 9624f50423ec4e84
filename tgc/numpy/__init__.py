"""NumPy's functions on traced tensors, and on NumPy arrays when nothing is being traced.

Names, arguments and promotion are NumPy 2's (NEP 50). Departures: shapes, axes and ranges are static; there are no
in-place forms (`out=`), no 8- and 16-bit signed, 16- and 64-bit unsigned and complex dtypes; results are arrays, never
NumPy scalars; errors are those of `tgc.errors`. Everything is composed of the primitives in `tgc.ops`.
"""

from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi

from tgc.numpy import fft as fft
from tgc.numpy import linalg as linalg
from tgc.numpy import methods
from tgc.numpy.creation import *  # noqa: F403
from tgc.numpy.cumulative import *  # noqa: F403
from tgc.numpy.dtypes import *  # noqa: F403
from tgc.numpy.elementwise import *  # noqa: F403
from tgc.numpy.indexing import *  # noqa: F403
from tgc.numpy.manipulation import *  # noqa: F403
from tgc.numpy.matrices import *  # noqa: F403
from tgc.numpy.padding import *  # noqa: F403
from tgc.numpy.products import *  # noqa: F403
from tgc.numpy.reductions import *  # noqa: F403
from tgc.numpy.sorting import *  # noqa: F403
from tgc.numpy.summation import *  # noqa: F403
from tgc.numpy.updates import *  # noqa: F403

newaxis = None

methods.install()
