"""Sizes that are symbols: integers that know how they came from the sizes of the inputs' axes.

A program is traced and lowered once with such sizes in its shapes and then serves all inputs for which what was decided
on the way holds. A `Size` has a value in that compilation, its hint, and an expression: a polynomial with integer
coefficients over symbols and over what functions of sizes give (a quotient, the tiles of a kernel). Arithmetic gives
sizes again. A question (`n == 4`, `n < m`, a truth value) is answered by the hints, and what was answered becomes
a guard of the program, unless it holds whatever the symbols are. What makes a plain number of a size (`range(n)`,
`float(n)`, text, the key of a dictionary) pins it: the guard is then that it equals its hint.

    symbols = Symbols()
    n = symbols.new(8)             # 8, or any size of at least 2
    tiles = -(-n // 6) * 3         # still a size
    tiles > 4                      # True, guarded
    check = symbols.checker()      # check(8) holds, check(2) does not
    symbols.evaluator([tiles])(20) # [12]

Sizes 0 and 1, on which broadcasting and much else depends, never become symbols.
"""

from tgc.sizes.functions import (
    call,
    calls,
    equal_shapes,
    integer,
    larger,
    least_of,
    pin,
    smaller,
    surely_divides,
    surely_equal,
)
from tgc.sizes.symbols import LEAST, Guard, Size, Symbols, hints_of, is_size, key_of

__all__ = [
    "LEAST",
    "Guard",
    "Size",
    "Symbols",
    "call",
    "calls",
    "equal_shapes",
    "hints_of",
    "integer",
    "is_size",
    "key_of",
    "larger",
    "least_of",
    "pin",
    "smaller",
    "surely_divides",
    "surely_equal",
]
