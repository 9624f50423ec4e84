"""The pass manager, and what each pass before fusion does, on small examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from fuzz_draft import OPS
from graphs import GRAPHS, block

from tgc.backends.cpu.target import X86_LEVELS, CpuTarget
from tgc.errors import PassError
from tgc.interpret import interpret
from tgc.ir import Graph, Node, transform
from tgc.passes import PASSES, PIPELINE, manager, parse_pipeline, run
from tgc.passes.decompose import Decompose
from tgc.passes.fold import Fold
from tgc.passes.fuse import Fuse
from tgc.passes.layout import Layout
from tgc.passes.manager import Target, collecting, refuse, register
from tgc.passes.memory import Memory
from tgc.passes.simplify import Simplify
from tgc.passes.split import Split
from tgc.runtime.lowered import Lowered, check_pass
from tgc.text import parse
from tgc.trace import Tracer, trace
from tgc.types import F32
from tgc.verify import verify

FEATURES = frozenset().union(*X86_LEVELS.values())
TARGET = CpuTarget.of("x86_64-unknown-linux-gnu", FEATURES, threads=2)  # 16 float32 lanes


def traced(f: Callable[..., Any], *types: str) -> Graph:
    """The graph of a function of tensors of these types, which returns one tensor."""
    return trace(
        lambda *xs: [f(*xs)], [parse(f"graph @g(%x: {t}) {{ return }}").inputs[0].type for t in types], name="g"
    )


def ops(g: Graph) -> list[str]:
    return [node.op.name for node in g.nodes]


def applied(step: manager.Pass, g: Graph) -> tuple[Graph, list[str]]:
    """The verified graph after a pass that does not change what it computes, and what the pass declined."""
    with collecting() as refusals:
        after = step(g, TARGET)
    verify(after)
    check_pass(step.name, g, after)
    return after, [str(r) for r in refusals]


# -------------------------------------------------------------------------------------------------------- pipelines


def test_pipeline_text() -> None:
    assert parse_pipeline("") == []
    assert parse_pipeline("fold") == [Fold()]
    assert parse_pipeline(" fold , simplify{ rounds = 2 },fuse{limit=4, size=8} ") == [Fold(), Simplify(2), Fuse(4, 8)]
    assert parse_pipeline("split{chunks=4},split") == [Split(chunks=4), Split()]
    assert parse_pipeline("layout{pack=False}") == [Layout(pack=False)]
    assert [step.name for step in parse_pipeline(PIPELINE)] == PIPELINE.split(",")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,nonsense", "no pass 'nonsense'; known are .*fold.*simplify"),
        ("fold,,simplify", "expected a pass at ',simplify'"),
        ("fold simplify", "expected a pass at 'fold simplify'"),
        ("fold{limit=1", r"expected a pass at 'fold\{limit=1'"),
        ("fold{rounds=1}", "rounds"),
        ("fold{limit}", "option 'limit' is no key=value"),
        ("fold{limit=1,}", "option '' is no key=value"),
        ("fold{limit=many}", "option limit of fold is 'many', not of type int"),
        ("fuse{size=1.5}", "option size of fuse is 1.5, not of type int"),
        ("layout{pack=1}", "option pack of layout is 1, not of type bool"),
    ],
)
def test_pipeline_errors(text: str, message: str) -> None:
    with pytest.raises(PassError, match=message) as caught:
        parse_pipeline(text)
    assert repr(text) in str(caught.value)


def test_names() -> None:
    assert all(PASSES[name].name == name for name in PASSES)
    with pytest.raises(PassError, match="pass fold is defined twice"):
        register(Fold)


# -------------------------------------------------------------------------------------------------------- the runs


@dataclass(frozen=True)
class Rewrite:
    """A pass that is a function."""

    rewrite: Callable[..., Any] = lambda builder, node, new: None
    name: ClassVar[str] = "rewrite"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return transform(graph, self.rewrite)


def test_stages_are_recorded_in_order() -> None:
    seen: list[tuple[str, Graph, Graph]] = []
    made = run([Simplify(), Fold(), Simplify(), Simplify()], block(), TARGET, lambda *step: seen.append(step))
    assert list(made.stages) == ["trace", "simplify", "fold", "simplify'", "simplify''"]
    assert made.stages["trace"] == block()
    assert made.result is made.stages["simplify''"]
    assert [name for name, _, _ in seen] == ["simplify", "fold", "simplify", "simplify"]
    stages = list(made.stages.values())
    assert [(before, after) for _, before, after in seen] == list(itertools.pairwise(stages))


def test_ill_formed_results_are_refused() -> None:
    @dataclass(frozen=True)
    class Reverse:
        name: ClassVar[str] = "reverse"

        def __call__(self, graph: Graph, target: Target) -> Graph:
            return Graph(graph.name, graph.inputs, graph.constants, graph.nodes[::-1], graph.outputs)

    with pytest.raises(PassError, match=r"pass reverse made an ill-formed graph: node 0 .* is not defined before"):
        run([Fold(), Reverse(), Fuse()], block(), TARGET)


def test_refusals_are_collected() -> None:
    with collecting() as outer:
        refuse("a", "x", "because")
        with collecting() as inner:
            refuse("b", "y", "why not")
            refuse("b", "y", "why not")
        refuse("a", "z", "so")
    refuse("c", "nobody", "listens")
    assert [str(r) for r in inner] == ["b: y: why not"]
    assert [str(r) for r in outer] == ["a: x: because", "a: z: so"]


def test_run_collects_refusals() -> None:
    made = run([Fuse()], traced(lambda x, y: x @ y @ y, "f32[3,4]", "f32[4,4]"), TARGET)
    assert [str(r) for r in made.refusals] == ["fuse: dot into dot: two contractions"]


# --------------------------------------------------------------------------------------------------------- TGC_CHECK


def broken(builder: Any, node: Node, new: Any) -> Any:
    return builder.emit(OPS["sub"], new) if node.op is OPS["add"] else None


def test_check_names_the_pass_that_changes_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PASSES, "rewrite", lambda: Rewrite(broken))
    monkeypatch.setenv("TGC_PIPELINE", PIPELINE.replace("layout,", "layout,rewrite,"))
    assert "rewrite" in Lowered(block()).stages
    monkeypatch.setenv("TGC_CHECK", "1")
    with pytest.raises(PassError, match=r"pass rewrite changed result 0 of @block: element \(.*\) was .* and is "):
        Lowered(block()).compile()


def test_check_accepts_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGC_CHECK", "1")
    assert list(Lowered(block()).stages)[-1] == "memory"


def test_check_compares_types() -> None:
    one, two = traced(lambda x: x, "f32[2]"), traced(lambda x: x.reshape(1, 2), "f32[2]")
    with pytest.raises(PassError, match=r"pass p changed result 0 of @g: float32\(2,\) became float32\(1, 2\)"):
        check_pass("p", one, two)


# ------------------------------------------------------------------------------------------------------------ purity

TRACED = {name: g for name, g in GRAPHS.items() if not any(node.op.name == "fused" for node in g.nodes)}


@pytest.mark.parametrize("name", sorted(TRACED))
@pytest.mark.parametrize("step", [pytest.param(s(), id=s.name) for s in PASSES.values()])
def test_passes_are_pure(step: Any, name: str) -> None:
    """A pass is a value; it leaves its graph as it was, and makes the same of it every time."""
    g = TRACED[name]
    if step.name == "memory":
        g = Fuse()(g, TARGET)
    text, signature = str(g), Graph(g.name, g.inputs, g.constants, g.nodes, g.outputs).signature
    first, second = step(g, TARGET), step(g, TARGET)
    assert str(g) == text
    assert Graph(g.name, g.inputs, g.constants, g.nodes, g.outputs).signature == signature
    assert str(first) == str(second)
    assert [v.type for v in first.inputs] == [v.type for v in g.inputs]
    assert step == type(step)()
    assert hash(step) == hash(type(step)())
    with pytest.raises(FrozenInstanceError):
        step.name = "other"


# -------------------------------------------------------------------------------------------------------------- fold

REALS = np.arange(6, dtype=np.float32).reshape(2, 3)


def lifted(x: Any, array: np.ndarray) -> Any:
    """A constant of the trace that `x` belongs to: ops on it are recorded rather than evaluated at once."""
    return Tracer(x.trace, x.trace.lift(array))


def test_fold_evaluates_constants() -> None:
    after, _ = applied(Fold(), traced(lambda x: x + OPS["exp"](lifted(x, REALS)).T, "f32[3,2]"))
    assert ops(after) == ["add"]
    np.testing.assert_array_equal(after.constants[0].data, np.exp(REALS).T)


def test_fold_keeps_fills_as_numbers() -> None:
    def f(x: Any) -> Any:
        two = OPS["full"](shape=(2,), dtype=F32, value=2.0)
        return x + OPS["reverse"](OPS["broadcast"](two * two, axes=(1,), shape=(4, 2)), axes=(0,))

    after, _ = applied(Fold(), traced(f, "f32[4,2]"))
    assert ops(after) == ["full", "add"]
    assert after.nodes[0].attrs["value"] == 4.0
    assert not after.constants


def test_fold_of_a_fill_and_a_constant() -> None:
    """A fill is a constant: `variance + epsilon` of a trained model leaves no work to the program."""
    after, _ = applied(Fold(), traced(lambda x: x * (lifted(x, REALS) + 0.5), "f32[2,3]"))
    assert ops(after) == ["mul"]


def test_fold_limit() -> None:
    def f(x: Any) -> Any:
        return x * OPS["pad"](lifted(x, REALS), low=(0, 0), high=(7, 3), interior=(0, 0), value=0)

    g = traced(f, "f32[9,6]")
    assert ops(applied(Fold(), g)[0]) == ["mul"]
    after, refusals = applied(Fold(limit=200), g)
    assert ops(after) == ["pad", "mul"]
    assert refusals == ["fold: pad -> f32[9,6]: the result would take 216 bytes"]


def test_fold_keeps_broadcasts_of_constants() -> None:
    """A bias is read once a channel, not once an element; what is computed of biases is computed before they spread."""

    def f(x: Any) -> Any:
        bias, scale = (OPS["broadcast"](lifted(x, a), axes=(2,), shape=(9, 2, 3)) for a in (REALS[0], REALS[1]))
        return x * OPS["exp"](bias * scale + 1)

    after, _ = applied(Fold(), traced(f, "f32[9,2,3]"))
    assert ops(after) == ["broadcast", "mul"]
    np.testing.assert_array_equal(after.constants[0].data, np.exp(REALS[0] * REALS[1] + 1))


def test_fold_evaluates_what_moves_broadcasts() -> None:
    def f(x: Any) -> Any:
        rows = OPS["broadcast"](lifted(x, REALS), axes=(0, 1), shape=(2, 3, 4))
        return x + OPS["transpose"](rows, perm=(2, 1, 0))

    after, _ = applied(Fold(), traced(f, "f32[4,3,2]"))
    assert ops(after) == ["add"]


def test_fold_leaves_errors_to_the_program() -> None:
    g = traced(lambda x: x + OPS["take"](lifted(x, REALS), lifted(x, np.array([7]))), "f32[1,3]")
    with collecting() as refusals:
        assert ops(Fold()(g, TARGET)) == ["take", "add"]
    assert "out of bounds" in str(refusals[0])


# --------------------------------------------------------------------------------------------------------- decompose


@pytest.mark.parametrize(
    ("x", "y", "contract", "want"),
    [
        ("f32[3,4]", "f32[4,5]", ((1,), (0,)), "dot"),
        ("f32[3,4]", "f32[4]", ((1,), (0,)), "mul sum"),  # along the rows of a matrix as they lie in memory
        ("f32[4,3]", "f32[4]", ((0,), (0,)), "dot"),
        ("f32[1,4]", "f32[5,4]", ((1,), (1,)), "reshape mul sum reshape"),
        ("f32[4]", "f32[4,5]", ((0,), (0,)), "dot"),
        ("f32[4]", "f32[4]", ((0,), (0,)), "mul sum"),
        ("f32[3]", "f32[4]", ((), ()), "mul"),
        ("f32[3,0]", "f32[0,4]", ((1,), (0,)), "full"),
        ("i32[3,4]", "i32[4,5]", ((1,), (0,)), "mul sum"),
        ("bf16[3,4]", "bf16[4,5]", ((1,), (0,)), "cast cast dot cast"),
    ],
)
def test_decompose_dot(x: str, y: str, contract: Any, want: str) -> None:
    g = traced(lambda x, y: OPS["dot"](x, y, batch=((), ()), contract=contract), x, y)
    after, _ = applied(Decompose(), g)
    assert [name for name in ops(after) if name not in ("transpose", "broadcast")] == want.split()
    for node in after.nodes:
        if node.op is OPS["dot"]:
            assert node.result.dtype == F32
            assert node.operands[1].type.rank == 2  # columns are left


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "i32", "u8"])
def test_decompose_position_of_an_extreme(name: str, dtype: str) -> None:
    """The first of equal elements or of NaNs, by folds of one number each; along other axes it is one fold."""
    g = traced(lambda x: OPS[name](x, axes=(1,), chunks=0), f"{dtype}[9,4]")
    after, _ = applied(Decompose(), g)
    assert [n for n in ops(after) if n in ("argmax", "argmin", "max", "min")] == [name.removeprefix("arg"), "min"]
    rows = [[2, 2, 1, 2], [0, -0.0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [3, 2, 1, 0]]
    odd = [[1, np.nan, 2, np.nan], [np.nan] * 4, [-np.inf] * 4, [np.inf, -np.inf, np.inf, 0]]
    x = np.array(rows + (odd if dtype[0] == "f" else rows[:4]))
    x = x.astype(g.inputs[0].dtype)
    (got,), (want,) = interpret(after, x), interpret(g, x)
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype
    columns = traced(lambda x: OPS[name](x, axes=(0,), chunks=0), f"{dtype}[9,4]")
    assert ops(applied(Decompose(), columns)[0]) == [name]


def test_decompose_convolution() -> None:
    after, _ = applied(Decompose(), block())
    assert ops(after)[:2] == ["pad", "conv"]
    assert after.nodes[1].attrs["padding"] == ((0, 0), (0, 0))


# ------------------------------------------------------------------------------------------------------------- split


@pytest.mark.parametrize(
    ("x", "axes", "chunks"),
    [
        ("f32[4096,4]", (0,), [16, 0]),
        ("f32[64,16,16]", (0, 2), [16, 0]),
        ("f32[64,16]", (0,), [0]),  # small
        ("f32[8,8,8,16]", (0, 1, 2), [8, 0]),  # fewer rows than chunks
        ("f32[8,4096]", (0,), [0]),  # a sum of few rows
        ("f32[1,64,128]", (0, 1), [0]),  # one chunk
        ("f32[4,4096]", (1,), [0]),  # the outermost axis is kept: threads share that
    ],
)
def test_split(x: str, axes: tuple[int, ...], chunks: list[int]) -> None:
    g = traced(lambda x: OPS["sum"](x, axes=axes, chunks=0), x)
    after, _ = applied(Split(chunks=16, least=1 << 13), g)
    assert [node.attrs["chunks"] for node in after.nodes] == chunks


@pytest.mark.parametrize(
    ("x", "y", "contract", "parts"),
    [
        ("f32[65536,4]", "f32[65536,6]", ((0,), (0,)), True),
        ("f32[4,65536]", "f32[65536,6]", ((1,), (0,)), True),
        ("f32[4,65535]", "f32[65535,6]", ((1,), (0,)), False),  # not divisible
        ("f32[512,32]", "f32[512,128]", ((0,), (0,)), True),
        ("f32[128,64]", "f32[128,128]", ((0,), (0,)), False),  # not long
        ("f32[4096,256]", "f32[4096,256]", ((0,), (0,)), False),  # enough tiles for all threads
    ],
)
def test_split_of_products(x: str, y: str, contract: Any, parts: bool) -> None:
    g = traced(lambda x, y: OPS["dot"](x, y, batch=((), ()), contract=contract), x, y)
    after, _ = applied(Split(), g)
    assert ops(after) == (["reshape", "reshape", "dot", "sum"] if parts else ["dot"])
    assert after.outputs[0].type == g.outputs[0].type
    assert applied(Split(), after)[0] == after


def test_split_of_products_over_two_axes() -> None:
    g = traced(lambda x, y: OPS["dot"](x, y, batch=((), ()), contract=((0, 2), (2, 1))), "f32[64,3,4]", "f32[5,4,64]")
    after, _ = applied(Split(least=1), g)
    assert ops(after) == ["reshape", "reshape", "dot", "sum"]


@pytest.mark.parametrize(
    ("x", "y", "chunks"),
    [
        ("f32[8,56,56,64]", "f32[8,56,56,32]", 8),
        ("f32[12,56,56,16]", "f32[12,56,56,32]", 6),
        ("f32[1,56,56,64]", "f32[1,56,56,32]", 0),  # one image
        ("f32[8,4,4,64]", "f32[8,4,4,32]", 0),  # not long
        ("f32[8,56,56,256]", "f32[8,56,56,256]", 0),  # enough tiles for all threads
    ],
)
def test_split_of_kernel_gradients(x: str, y: str, chunks: int) -> None:
    attrs = dict(kernel=(1, 1), chunks=0, stride=(1, 1), padding=((0, 0),) * 2, dilation=(1, 1), groups=1)
    g = traced(lambda x, y: OPS["conv_kernel_grad"](x, y, **attrs), x, y)
    after, _ = applied(Split(), g)
    assert [node.attrs["chunks"] for node in after.nodes] == ([chunks, 0] if chunks else [0])
    assert after.outputs[0].type == g.outputs[0].type


def test_split_leaves_positions_alone() -> None:
    """The place of the largest element is not the largest of places."""
    g = traced(lambda x: OPS["argmax"](x, axes=(0,), chunks=0), "f32[9000]")
    assert applied(Split(least=1), g)[0] == g


# ---------------------------------------------------------------------------------------------------- the whole line


def test_places_in_user_code_survive() -> None:
    """A fused node names the lines of all that it came from, and no others."""
    made = run([*parse_pipeline(PIPELINE), Memory()], block(), TARGET).result
    assert {place for node in made.nodes for place in node.loc} == {"net.py:12", "net.py:13"}
    assert any(len(node.loc) == 2 for node in made.nodes)


@pytest.mark.parametrize("name", sorted(TRACED))
def test_pipeline_keeps_results(name: str) -> None:
    made = run([*parse_pipeline(PIPELINE), Memory()], TRACED[name], TARGET, check_pass)
    assert all(node.op in (OPS["fused"], OPS["reshape"]) for node in made.result.nodes)
