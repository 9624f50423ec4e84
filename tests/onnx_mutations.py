"""Damaged models: what `tgc.frontends.onnx` makes of files that are not to be trusted.

    python tests/onnx_mutations.py --count 10000 --jobs 2   # each seed damages a model in its own way
    python tests/onnx_mutations.py --count 1000 --run       # those that can be traced are compiled and run, too
    python tests/onnx_mutations.py --seed 4711              # one of them, and what it says

A damaged model is loaded and traced, with small sizes for those that it leaves open. That must end, within a time and
an amount of memory that are small, in a graph or in an error of tgc's own. Anything else is printed with its seed, and
the exit status is 1. (`MemoryError` is an error of its own: a graph may ask for more than there is.)
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.parser import parse_model

from tgc.errors import TgcError
from tgc.frontends.onnx import load

HEAD = '<ir_version: 8, opset_import: ["": 20, "local": 1]> '
TEXTS = (
    """g (float[n, 3] x) => (float[n, 2] y) <int64[2] shape = {-1, 2}, float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
        11, 12}, float[4] b = {1, 2, 3, 4}> {
        h = Gemm<transB = 0>(x, w, b) a = Relu(h) z = Softmax<axis = 1>(a) s = Slice(z, zero, two, one)
        zero = Constant<value_ints = [0]>() two = Constant<value_ints = [2]>() one = Constant<value_ints = [1]>()
        y = Reshape(s, shape) }""",
    """g (float[1, 2, 8, 8] x) => (float[1, k] y) <float[2, 2, 1, 1] w = {1, 2, 3, 4}> {
        c = Conv<kernel_shape = [1, 1], pads = [0, 0, 1, 1], strides = [1, 2], group = 1>(x, w)
        p = MaxPool<kernel_shape = [2, 2], dilations = [1, 1], strides = [2, 2]>(c) f = Flatten(p)
        t = Tile(f, r) r = Constant<value_ints = [1, 2]>() q, u = Split<axis = 1, num_outputs = 2>(t)
        y = Concat<axis = 1>(q, u) }""",
    """g (float[n] x, int64 m, bool c) => (float[n] y, float[k] z, float[a, b] r) {
        y = If (c) <then_branch = t () => (float[n] p) { p = Exp(x) },
            else_branch = e () => (float[n] q) { q = Neg(x) }>
        three = Constant<value_int = 3>() z, r = Loop (three, , x) <body = b (int64 i, bool go, float[n] h) =>
            (bool on, float[n] k, float[n] o) { on = Identity(go) k = Add(h, x) o = Mul(k, y) }> }""",
    """g (float[n, 4] x) => (float[k] y, float[n] t) {
        s = Shape(x) n = Gather(s, zero) zero = Constant<value_int = 0>() u = Unsqueeze(n, axes)
        axes = Constant<value_ints = [0]>() e = ConstantOfShape(u) l = local.leaky<slope = 0.5>(x)
        d = ReduceSum<keepdims = 0>(l, one) one = Constant<value_ints = [1]>() t = Add(d, e)
        p = Pad(t, pads) pads = Constant<value_ints = [1, 2]>() i = Range(from, to, by) from = Constant<value_int = 0>()
        to = Constant<value_int = 5>() by = Constant<value_int = 1>() y = Gather(p, j) j = Clip(i, from, to)
    } <domain: "local", opset_import: ["": 17]> leaky<slope: float = 0.25>(x) => (y) {
        z = LeakyRelu<alpha: float = @slope>(x) y = Identity(z) }""",
)
NUMBERS = (-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 64, 1000, 2**31 - 1, 2**40, 2**63 - 1)


def models() -> list[ModelProto]:
    """Valid models."""
    made = [parse_model(HEAD + text) for text in TEXTS]
    for m, name, shape in ((made[0], "v", (3, 5)), (made[1], "v", (2,))):
        m.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    return made


# --------------------------------------------------------------------------------------------------- ways of damage


def bytes_of(m: ModelProto, draw: random.Random) -> bytes:
    """The file, bytes changed, left out, repeated, or the end cut off."""
    data = bytearray(m.SerializeToString())
    at, n = draw.randrange(len(data)), draw.randrange(1, 40)
    match draw.randrange(4):
        case 0:
            for _ in range(draw.randrange(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + n]
        case 3:
            data[at:at] = data[at : at + n]
    return bytes(data)


def _nodes(m: ModelProto) -> list[Any]:
    """All nodes, those of inner graphs and functions too."""
    found, graphs = [n for f in m.functions for n in f.node], [m.graph]
    while graphs:
        nodes = list(graphs.pop().node)
        found += nodes
        graphs += [a.g for n in nodes for a in n.attribute if a.HasField("g")]
    return found


def names(m: ModelProto, draw: random.Random) -> None:
    """Values with names of others, or of none."""
    node = draw.choice(_nodes(m))
    known = [name for n in _nodes(m) for name in (*n.input, *n.output)] + ["", "nowhere"]
    fields = [side for side in (node.input, node.output) if side]
    if fields:
        side = draw.choice(fields)
        side[draw.randrange(len(side))] = draw.choice(known)


def order(m: ModelProto, draw: random.Random) -> None:
    """Operands exchanged, nodes repeated or left out, and in another order."""
    node, graph = draw.choice(_nodes(m)), m.graph
    match draw.randrange(4):
        case 0:
            kept = list(node.input)
            draw.shuffle(kept)
            node.input[:] = kept + draw.choice(([], kept, [""] * 3))
        case 1:
            graph.node.append(draw.choice(list(graph.node)))
        case 2:
            del graph.node[draw.randrange(len(graph.node))]
        case 3:
            nodes = list(graph.node)
            draw.shuffle(nodes)
            del graph.node[:]
            graph.node.extend(nodes)


def tensors(m: ModelProto, draw: random.Random) -> None:
    """Initializers of other shapes and types, with more or less data, or with data elsewhere."""
    t = draw.choice([*m.graph.initializer, *(a.t for n in _nodes(m) for a in n.attribute if a.HasField("t"))])
    match draw.randrange(5):
        case 0:
            t.dims[:] = [draw.choice(NUMBERS) for _ in range(draw.randrange(5))]
        case 1:
            t.data_type = draw.randrange(32)
        case 2:
            t.raw_data = bytes(draw.randrange(64))
        case 3:
            t.data_location = TensorProto.EXTERNAL
            t.ClearField("raw_data")
            t.external_data.add(
                key="location", value=draw.choice(("../secret", "/etc/passwd", "link", "data", "", "\0"))
            )
            t.external_data.add(key=draw.choice(("offset", "length")), value=draw.choice(("-1", "x", "99999999999")))
        case 4:
            t.name = draw.choice(("x", "y", "", "w"))


def attributes(m: ModelProto, draw: random.Random) -> None:
    """Attributes with other values and types, under other names, or of operators that do not have them."""
    nodes = [n for n in _nodes(m) if n.attribute]
    a = draw.choice(list(draw.choice(nodes).attribute))
    match draw.randrange(6):
        case 0:
            a.i = draw.choice(NUMBERS)
        case 1:
            a.ints[:] = [draw.choice(NUMBERS) for _ in range(draw.randrange(5))]
        case 2:
            a.f = draw.choice((float("nan"), float("inf"), -1.0, 1e38))
        case 3:
            a.type = draw.randrange(1, 15)
        case 4:
            a.name = draw.choice(("axis", "value", "perm", "nothing"))
        case 5:
            draw.choice(_nodes(m)).attribute.append(a)


def operators(m: ModelProto, draw: random.Random) -> None:
    """Other operators and versions."""
    nodes = _nodes(m)
    if draw.randrange(4):
        draw.choice(nodes).op_type = draw.choice([*(n.op_type for n in nodes), *OPERATORS])
    else:
        draw.choice(list(m.opset_import)).version = draw.choice(NUMBERS)


def types(m: ModelProto, draw: random.Random) -> None:
    """Inputs and outputs of other types."""
    v = draw.choice([*m.graph.input, *m.graph.output])
    elem, shape = draw.randrange(32), [draw.choice((*NUMBERS, "n", None)) for _ in range(draw.randrange(5))]
    proto = helper.make_tensor_type_proto(elem, shape) if draw.randrange(3) else helper.make_sequence_type_proto(v.type)
    v.type.CopyFrom(proto)


def functions(m: ModelProto, draw: random.Random) -> None:
    """Functions and graphs that hold themselves, many times over."""
    if not draw.randrange(3):
        f = m.functions.add(name="loop", domain="local", input=["a"], output=["b"], opset_import=list(m.opset_import))
        f.node.add(op_type="loop", domain="local", input=["a"], output=["b"])
        draw.choice(list(m.graph.node)).CopyFrom(f.node[0])
        m.graph.node[0].input[0] = "x"
        return
    many = draw.randrange(3, 40)
    for k in range(many):  # each calls the next one twice
        f = m.functions.add(name=f"f{k}", domain="local", input=["a"], output=["b"])
        f.opset_import.extend(m.opset_import)
        op, domain = (f"f{k + 1}", "local") if k + 1 < many else ("Relu", "")
        f.node.add(op_type=op, domain=domain, input=["a"], output=["c"])
        f.node.add(op_type=op, domain=domain, input=["c"], output=["b"])
    m.graph.node.add(op_type="f0", domain="local", input=[m.graph.input[0].name], output=["more"])
    m.graph.output.add(name="more")


OPERATORS = """Add And Attention BatchNormalization BitShift Cast Compress Conv ConvTranspose CumSum DFT DepthToSpace
    Dropout Einsum Expand EyeLike GRU Gather GatherND GroupNormalization HannWindow If LSTM LayerNormalization Loop LRN
    MatMul Max MaxUnpool Mod NonMaxSuppression NonZero OneHot Pad QuantizeLinear RandomNormal Range ReduceMax Resize
    Scan ScatterElements ScatterND SequenceAt SequenceMap Shape SplitToSequence Squeeze StringConcat Sum Tile TopK
    Transpose Trilu Unique Where""".split()  # noqa: SIM905
WAYS: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    names, order, tensors, attributes, operators, types, functions,
)  # fmt: skip


def damaged(seed: int) -> bytes:
    """A damaged model, as a file."""
    draw = random.Random(seed)
    m = draw.choice(models())
    for _ in range(draw.choice((1, 1, 2, 4))):
        way = draw.choice((*WAYS, None))
        if way is None:
            return bytes_of(m, draw)
        try:
            way(m, draw)
        except (ValueError, TypeError, IndexError):  # protobuf takes no such value, or there is nothing to damage
            continue
    return m.SerializeToString()


# -------------------------------------------------------------------------------------------------------- what happens


class OutOfTimeError(BaseException):
    """A model took too long. It is no `Exception`, which the frontend would take for one of a rule's."""


def attempt(seed: int, run: bool = False, seconds: int = 20) -> str:
    """What becomes of a damaged model: "traced", with `run` "run", or the name of tgc's error.

    Raises:
        Exception, OutOfTimeError: any other error; it takes too long.
    """

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: others may hold it
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Path(folder, "secret").write_bytes(bytes(256))
            inner = Path(folder, "model")
            inner.mkdir()
            (inner / "link").symlink_to("../secret")
            (inner / "data").write_bytes(bytes(64))
            (inner / "model.onnx").write_bytes(damaged(seed))
            try:
                found = load(inner / "model.onnx")
                sizes = {n: 4 for v in found.inputs for n in v.shape or () if isinstance(n, str)}
                values = {v.name: np.array(2, v.dtype) for v in found.inputs if v.shape == () and v.dtype != object}
                graph = found.graph(sizes, values)
                if run and all(v.type.size <= 2**20 for v in graph.inputs):
                    types = iter(v.type for v in graph.inputs)
                    arguments = [values[v.name] if v.name in values else next(types) for v in found.inputs]
                    found(*(x if isinstance(x, np.ndarray) else np.ones(x.shape, x.dtype) for x in arguments))
                    return "run"
            except TgcError as error:
                return type(error).__name__
            except MemoryError:
                return "MemoryError"
            return "traced"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _job(job: tuple[int, bool]) -> tuple[int, str, str]:
    seed, start = job[0], time.process_time()
    try:
        found = attempt(*job)
    except (Exception, OutOfTimeError):  # noqa: BLE001 -- reported
        return seed, "wrong", traceback.format_exc(limit=-3)
    took = time.process_time() - start
    return seed, found, f"{took:.0f} s" if took > 5 else ""


def _limit(gigabytes: int = 4) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--run", action="store_true", help="run what can be traced")
    parser.add_argument("--seed", type=int, help="this one alone")
    args = parser.parse_args()
    if args.seed is not None:
        print(attempt(args.seed, args.run))
        return 0
    counts: collections.Counter[str] = collections.Counter()
    seeds = [(seed, args.run) for seed in range(args.first, args.first + args.count)]
    with multiprocessing.get_context("spawn").Pool(args.jobs, _limit) as pool:
        for seed, outcome, message in pool.imap_unordered(_job, seeds, 20):
            counts[outcome] += 1
            if message:
                print(f"seed {seed}: {outcome}: {message}", flush=True)
    print(", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
