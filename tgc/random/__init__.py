"""Random numbers as pure functions of a key: the same key gives the same numbers traced, compiled and on NumPy arrays.

A key is u32[2], the key of the counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011). Draw from a key once: make new keys for further draws with `split` or `fold_in`, which derive
them in a key space of their own, so that they never repeat words that `bits` yields for the same key.

Element i of a draw depends on the key and on i alone: a longer draw begins with a shorter one. Parameters whose numbers
are known are checked; traced ones that are out of range give NaN, or the smallest integer of what they draw.
"""

from tgc.random.continuous import *  # noqa: F403
from tgc.random.discrete import *  # noqa: F403
from tgc.random.gammas import *  # noqa: F403
from tgc.random.keys import *  # noqa: F403
from tgc.random.matrices import *  # noqa: F403
from tgc.random.orders import *  # noqa: F403
