"""NumPy's functions on traced tensors, and on NumPy arrays when nothing is being traced.

Names, arguments and promotion are NumPy 2's (NEP 50) and those of the array API standard 2024.12. Departures: shapes,
axes and ranges are static; there are no in-place forms (`out=`); results are arrays, never NumPy scalars; errors are
those of `tgc.errors`. Functions whose result's shape depends on numbers (`nonzero`, `unique_all`, ...) work on arrays,
and on tracers where a `size` is given. Everything is composed of the primitives in `tgc.ops`.
"""

from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi

from numpy import euler_gamma as euler_gamma

from tgc.numpy import fft as fft
from tgc.numpy import linalg as linalg
from tgc.numpy import methods
from tgc.numpy.arranging import *  # noqa: F403
from tgc.numpy.bessel import *  # noqa: F403
from tgc.numpy.calculus import *  # noqa: F403
from tgc.numpy.complexes import *  # noqa: F403
from tgc.numpy.creation import *  # noqa: F403
from tgc.numpy.cumulative import *  # noqa: F403
from tgc.numpy.dtypes import *  # noqa: F403
from tgc.numpy.elementwise import *  # noqa: F403
from tgc.numpy.errorfunctions import *  # noqa: F403
from tgc.numpy.floats import *  # noqa: F403
from tgc.numpy.grids import *  # noqa: F403
from tgc.numpy.indexing import *  # noqa: F403
from tgc.numpy.info import *  # noqa: F403
from tgc.numpy.integers import *  # noqa: F403
from tgc.numpy.manipulation import *  # noqa: F403
from tgc.numpy.mapping import *  # noqa: F403
from tgc.numpy.matrices import *  # noqa: F403
from tgc.numpy.nanstats import *  # noqa: F403
from tgc.numpy.padding import *  # noqa: F403
from tgc.numpy.polynomials import *  # noqa: F403
from tgc.numpy.products import *  # noqa: F403
from tgc.numpy.quantiles import *  # noqa: F403
from tgc.numpy.reductions import *  # noqa: F403
from tgc.numpy.searching import *  # noqa: F403
from tgc.numpy.sets import *  # noqa: F403
from tgc.numpy.sorting import *  # noqa: F403
from tgc.numpy.statistics import *  # noqa: F403
from tgc.numpy.summation import *  # noqa: F403
from tgc.numpy.updates import *  # noqa: F403
from tgc.numpy.windows import *  # noqa: F403

newaxis = None

methods.install()
