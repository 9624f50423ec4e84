"""Operators of graphs: Gradient, and If, Loop and Scan.

In traces these become `tgc.control`'s functions where carried values keep their types, else they run on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optree

from tgc import control
from tgc import numpy as tnp
from tgc.errors import TgcError
from tgc.frontends.onnx import objects
from tgc.frontends.onnx.errors import InvalidModelError, OnnxError, UntraceableError
from tgc.frontends.onnx.reader import TRAINING
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.translate import Subgraph, is_known
from tgc.frontends.onnx.values import Array, Tensor
from tgc.ir import recorder
from tgc.sizes import is_size
from tgc.transforms import vjp, vmap

UNROLLED = 64  # steps up to which a loop is unrolled whose carried values change their types


@converts("If")
def if_(condition: Tensor, /, *, then_branch: Subgraph, else_branch: Subgraph) -> tuple[Any, ...]:
    """ONNX If: of a known condition the one branch, else both as branches of `tgc.control.cond`."""
    if is_known(condition):
        return (then_branch if condition.reshape(-1)[0] else else_branch)()
    with _or_on_host("branches cannot be traced"):
        return control.cond(tnp.reshape(condition, ()), _plain(then_branch), _plain(else_branch))  # type: ignore[no-any-return]


@contextmanager
def _or_on_host(what: str) -> Iterator[None]:
    """What cannot be traced has to run on the host."""
    try:
        yield
    except TgcError as error:
        raise UntraceableError(f"{what}: {error}") from error


def _plain(body: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """The same, sizes that are among its results as tensors."""
    return lambda *values: tuple(objects.traced(y) for y in body(*values))


@converts("Loop")
def loop(
    trips: Tensor | None = None, condition: Tensor | None = None, /, *carried: Any, body: Subgraph
) -> tuple[Any, ...]:
    """ONNX Loop: (carried values, then a stack of rows for each scan output).

    In a trace, a loop whose condition stays true becomes a `scan`, and one without scan outputs a `while_loop`; short
    ones whose carried values change their shapes are unrolled. Without a count, and under a condition that stays true,
    it never ends.
    """
    trips = _scalar(trips)
    if recorder() is None:
        return _stepped(body, trips, condition, carried)
    if condition is not None and is_known(condition) and not condition.reshape(-1)[0]:
        trips, condition = np.int64(0), None
    goes_on = condition is None or is_known(condition)
    if goes_on and trips is not None and (is_size(trips) or isinstance(trips, np.integer)):
        try:
            return _scanned(body, trips, carried)
        except TgcError:
            if not is_size(trips) and trips <= UNROLLED:
                with _or_on_host("the loop can be neither a scan nor unrolled"):
                    return _unrolled(body, int(trips), carried)
    with _or_on_host("the loop cannot be traced"):
        return _while(body, trips, condition, carried)


def _scalar(x: Tensor | None) -> Any:
    """The number of a known scalar; a traced one without axes."""
    return None if x is None else x.reshape(-1)[0] if is_known(x) else tnp.reshape(x, ())


def _scanned(body: Subgraph, trips: Any, carried: tuple[Any, ...]) -> tuple[Any, ...]:
    def step(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        index, *values = carry
        goes_on, *results = _plain(body)(index, np.array(True), *values)
        if not is_known(goes_on) or not goes_on.all():
            raise OnnxError("the condition may become false")
        return (index + np.int64(1), *results[: len(values)]), tuple(results[len(values) :])

    length = trips if is_size(trips) else max(int(trips), 0)
    (_, *values), rows = control.scan(step, (np.int64(0), *map(objects.traced, carried)), None, length)
    return (*values, *rows)


def _unrolled(body: Subgraph, trips: int, carried: tuple[Any, ...]) -> tuple[Any, ...]:
    rows: list[list[Any]] = [[] for _ in body.graph.outputs[1 + len(carried) :]]
    goes_on = np.array(True)
    for index in range(trips):
        if not is_known(goes_on):
            raise OnnxError("the condition is unknown")
        if not goes_on.all():
            break
        goes_on, *results = body(np.array(index), goes_on, *carried)
        carried = tuple(results[: len(carried)])
        for row, y in zip(rows, results[len(carried) :], strict=True):
            row.append(y)
    return (*carried, *_stacked(body, len(carried) + 1, rows, tnp.stack))


def _while(body: Subgraph, trips: Any, condition: Any, carried: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(body.graph.outputs) != 1 + len(carried):
        raise OnnxError("how many rows a scan output has depends on numbers")

    def goes_on(carry: tuple[Any, ...]) -> Any:
        index, condition, *_ = carry
        return condition if trips is None else tnp.logical_and(condition, tnp.less(index, trips))

    def step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        index, condition, *values = carry
        condition, *values = _plain(body)(index, condition, *values)
        return (index + np.int64(1), tnp.reshape(condition, ()), *values)

    first = np.array(True) if condition is None else tnp.reshape(condition, ())
    _, _, *values = control.while_loop(goes_on, step, (np.int64(0), first, *map(objects.traced, carried)))
    return tuple(values)


def _stepped(body: Subgraph, trips: Any, condition: Any, carried: tuple[Any, ...]) -> tuple[Any, ...]:
    """The loop on the host, its body compiled."""
    rows: list[list[Any]] = [[] for _ in body.graph.outputs[1 + len(carried) :]]
    goes_on = np.array(True) if condition is None else condition
    index = 0
    while (trips is None or index < trips) and goes_on.all():
        goes_on, *results = body(np.array(index), goes_on, *carried)
        carried = tuple(results[: len(carried)])
        for row, y in zip(rows, results[len(carried) :], strict=True):
            row.append(y)
        index += 1
    return (*carried, *_stacked(body, len(carried) + 1, rows, np.stack))


def _stacked(body: Subgraph, first: int, rows: Sequence[list[Any]], stack: Callable[[list[Any]], Any]) -> list[Any]:
    """Rows of each scan output as one tensor; of none, one of the type that the body declares."""
    made: list[Any] = []
    for info, row in zip(body.graph.outputs[first:], rows, strict=True):
        if row:
            made.append(optree.tree_map(lambda *xs: stack(list(xs)), *row))
        else:
            shape = [n if isinstance(n, int) else 0 for n in info.shape or ()]
            made.append(np.zeros((0, *shape), info.dtype))
    return made


@converts("Scan", since=9)
def scan(
    *inputs: Tensor,
    body: Subgraph,
    num_scan_inputs: int,
    scan_input_axes: tuple[int, ...] = (),
    scan_input_directions: tuple[int, ...] = (),
    scan_output_axes: tuple[int, ...] = (),
    scan_output_directions: tuple[int, ...] = (),
) -> tuple[Any, ...]:
    """ONNX Scan: (states, then scan outputs); directions are 1 where rows go from the last to the first."""
    n = len(inputs) - num_scan_inputs
    if n < 0 or num_scan_inputs < 1 or len(body.graph.outputs) < n:
        raise InvalidModelError(f"Scan of {num_scan_inputs} scan inputs gets {len(inputs)} inputs")
    kept = len(body.graph.outputs) - n
    axes, flips = (a or (0,) * num_scan_inputs for a in (scan_input_axes, scan_input_directions))
    xs = [_turned(x, axis, 0, flip) for x, axis, flip in zip(inputs[n:], axes, flips, strict=True)]

    def step(states: tuple[Any, ...], rows: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        made = _plain(body)(*states, *rows)
        return made[:n], made[n:]

    if recorder() is None:
        states, rows = _scanned_on_host(step, inputs[:n], xs)
    else:
        with _or_on_host("the body of Scan cannot be traced"):
            states, rows = control.scan(step, tuple(map(objects.traced, inputs[:n])), tuple(xs))
    axes, flips = (a or (0,) * kept for a in (scan_output_axes, scan_output_directions))
    return (*states, *(_turned(y, 0, axis, flip) for y, axis, flip in zip(rows, axes, flips, strict=True)))


def _scanned_on_host(step: Callable[..., Any], states: tuple[Any, ...], xs: list[Array]) -> tuple[Any, tuple[Any, ...]]:
    made = []
    for row in zip(*xs, strict=True):
        states, outputs = step(states, tuple(map(np.asarray, row)))
        made.append(outputs)
    return states, tuple(np.stack(rows) for rows in zip(*made, strict=True))


def _turned(x: Tensor, axis: int, to: int, flip: int) -> Tensor:
    """One axis moved, and its order reversed."""
    moved = tnp.moveaxis(x, axis, to)
    return tnp.flip(moved, axis=to) if flip else moved


@converts("Scan", since=8)
def scan_8(
    lengths: Tensor | None = None,
    /,
    *inputs: Tensor,
    body: Subgraph,
    num_scan_inputs: int,
    directions: tuple[int, ...] = (),
) -> tuple[Any, ...]:
    """ONNX Scan of opset 8: the first axis of everything is that of a batch, the second that of the rows."""
    if lengths is not None:
        raise OnnxError("Scan of opset 8 with sequence lengths is not supported")

    def one(*row: Tensor) -> tuple[Any, ...]:
        return scan(*row, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions)

    if recorder() is None:
        rows = [one(*row) for row in zip(*inputs, strict=True)]
        return tuple(np.stack(y) for y in zip(*rows, strict=True))
    with _or_on_host("the body of Scan cannot be traced"):
        return vmap(one)(*inputs)  # type: ignore[no-any-return]


@converts("Gradient", domain=TRAINING)
def gradient(*inputs: Tensor, xs: tuple[str, ...], y: str, zs: tuple[str, ...] = (), body: Subgraph) -> tuple[Any, ...]:
    """ONNX Gradient: of the sum of `y`, by `xs`; `body` computes y of the inputs, which are `xs` and `zs`."""
    with _or_on_host("what is differentiated cannot be traced"):
        (made,), back = vjp(lambda *given: body(*given, *inputs[len(xs) :]), *inputs[: len(xs)])
        return back((tnp.ones_like(made),))  # type: ignore[no-any-return]
