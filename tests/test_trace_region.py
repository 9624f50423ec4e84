"""Regions: graphs traced inside of a trace, which capture what they close over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from traced import graph_of

from tgc.errors import LeakedTracerError
from tgc.ir import inline
from tgc.trace import Tracer, current, trace_region


def apply(f: Any, *xs: Tracer) -> Tracer:
    """`f(*xs)` by way of a region."""
    graph, captured = trace_region(lambda *inner: [f(*inner)], [x.value.type for x in xs])
    assert len(graph.inputs) == len(xs) + len(captured)
    (out,) = inline(graph, current().builder, [x.value for x in (*xs, *captured)])
    return Tracer(current(), out)


def test_a_region_captures_what_it_closes_over() -> None:
    x, y = np.float32([1, 2]), np.float32([3, 5])
    plain = graph_of(lambda x, y: (x * y + y) * x, x, y)
    assert graph_of(lambda x, y: apply(lambda z: z * y + y, x) * x, x, y) == plain


def test_regions_nest() -> None:
    x, y = np.float32([1, 2]), np.float32([3, 5])
    nested = graph_of(lambda x, y: apply(lambda a: apply(lambda b: b * a + y, a + y), x), x, y)
    assert nested == graph_of(lambda x, y: (x + y) * x + y, x, y)


def test_what_a_region_makes_does_not_leave_it() -> None:
    kept: list[Tracer] = []

    def body(a: Any) -> Any:
        kept.append(a * 2)
        return a

    with pytest.raises(LeakedTracerError, match="after its trace had ended"):
        graph_of(lambda x: apply(body, x) + kept[0], np.float32([1, 2]))
