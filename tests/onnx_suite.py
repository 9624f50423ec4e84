"""Runs ONNX's own backend tests, as its wheel has them, and compares what passes with the committed baseline.

    python tests/onnx_suite.py --jobs 2                  # all of them: some minutes with an empty cache
    python tests/onnx_suite.py -k 'conv|pool' --verbose  # some, and what those that fail say
    python tests/onnx_suite.py --tier core
    python tests/onnx_suite.py --jobs 2 --update         # all, and write the baseline and the tables

A test that needs something no backend has to have counts as skipped. A test of the baseline that passed and does not
is an error (exit status 1). `onnx_suite.md` shows the counts, and the failures with what they say; reasons are in
REASONS below. Tests belong to a tier by the operator that they are for (a single node, or the name) and their types:

    core     what networks are made of         ext     recurrence, attention, quantization, losses, resampling, ...
    niche    operators that are rare           dtype   element types that NumPy does not have, and complex numbers
    out      strings, sequences, ai.onnx.ml    model   whole models, and those of PyTorch's tests
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from tgc.frontends.onnx.backend import Backend

HERE = Path(__file__).parent
BASELINE = HERE / "onnx_suite_baseline.json"
TABLE = HERE / "onnx_suite.md"
TIERS = ("core", "ext", "dtype", "niche", "out", "model")
EXT = """GRU LSTM RNN ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
    QuantizeLinear Attention RotaryEmbedding NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss Adagrad Adam Gradient
    Momentum BlackmanWindow HammingWindow HannWindow Resize Upsample Multinomial RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike"""
NICHE = """AffineGrid Bernoulli BitCast BitShift CausalConvWithState Col2Im DFT DeformConv Det FlexAttention
    GlobalLpPool GridSample If ImageDecoder LinearAttention Loop LpPool MaxRoiPool MaxUnpool MelWeightMatrix
    NonMaxSuppression ReverseSequence RoiAlign STFT Scan TensorScatter Unique"""
OUT = re.compile(r"Sequence(?!Scatter)|^Optional|^String|^RegexFullMatch$|^TfIdfVectorizer$")
NUMPY = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13}  # element types
REASONS = {
    "test_loop16_seq_none": "the sequence holds a tensor without axes, whose length the test asks for",
    "test_bernoulli": "compares random numbers with other ones",
    "test_training_dropout": "compares random numbers with other ones",
    "test_dft_inverse": "the expected numbers are off by 2e-7 where ours are zeros, and the tolerance there is 1e-7",
    "test_attention_4d_causal_fp16_expanded": "half precision is rounded after each operator of the expanded graph",
}
Results = dict[str, list[Any]]  # "kind/test" -> outcome, seconds, what it says


@functools.cache
def suite() -> dict[str, tuple[str, Callable[[], None]]]:
    """ "kind/test" -> (tier, what runs it)."""
    found: dict[str, tuple[str, Callable[[], None]]] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        runner = Runner(Backend, __name__)
        tiers = _tiers()
    for category, items in runner._test_items.items():
        kind = category.removesuffix("Model")
        for name, item in items.items():
            if name.endswith("_cpu"):
                name = name.removesuffix("_cpu")
                tier = tiers[name] if kind == "Node" else "model"
                found[f"{kind}/{name}"] = tier, functools.partial(item.func, None)
    return found


def _tiers() -> dict[str, str]:
    """The tier of each test of nodes."""
    tests = load_model_tests(kind="node")
    ext, niche = set(EXT.split()), set(NICHE.split())
    single = {t.name: t.model.graph.node[0] for t in tests if len(t.model.graph.node) == 1}
    tiers = {}
    for t in tests:
        nodes = t.model.graph.node
        base = re.sub(r"_expanded.*$", "", t.name)
        op = single.get(t.name, single.get(base, nodes[-1])).op_type
        ops = {op, *(n.op_type for n in nodes)}
        graph = t.model.graph
        kinds = [v.type for v in (*graph.input, *graph.output, *graph.value_info)]
        elems = {k.tensor_type.elem_type for k in kinds if k.HasField("tensor_type")}
        elems |= {a.i for n in nodes for a in n.attribute if a.name in ("to", "dtype") and a.i}
        texts = 8 in elems or any(k.WhichOneof("value") not in ("tensor_type", None) for k in kinds)
        if texts or any(n.domain == "ai.onnx.ml" for n in nodes) or any(map(OUT.search, ops - {"ReverseSequence"})):
            tier = "out"
        elif elems - NUMPY - {0}:
            tier = "dtype"
        elif op in niche or ops & {"If", "Loop", "Scan"}:
            tier = "niche"
        else:
            tier = "ext" if op in ext else "core"
        tiers[t.name] = tier
    return tiers


def run(names: list[str], timeout: int = 60) -> Results:
    """Run tests in this process, each for so many seconds at the most."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"the test took more than {timeout} s")

    tests, results = suite(), {}
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with tempfile.TemporaryDirectory() as home, _environment("ONNX_HOME", home):
            for name in names:
                start = time.perf_counter()
                outcome, message = _run_one(tests[name][1], timeout)
                results[name] = [outcome, round(time.perf_counter() - start, 3), message]
    finally:
        signal.signal(signal.SIGALRM, before)
    return results


def _run_one(test: Callable[[], None], timeout: int) -> tuple[str, str]:
    signal.alarm(timeout)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test()
    except unittest.SkipTest as skipped:
        return "skipped", str(skipped)
    except Exception as error:  # noqa: BLE001 -- what a test may raise is what it tests
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    finally:
        signal.alarm(0)
    return "passed", ""


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    old = os.environ.get(name)
    os.environ[name] = value
    yield
    if old is None:
        del os.environ[name]
    else:
        os.environ[name] = old


def baseline() -> dict[str, str]:
    """ "kind/test" -> the committed outcome."""
    held = json.loads(BASELINE.read_text(encoding="utf-8"))
    return {name: outcome for outcome, names in held["tests"].items() for name in names}


def regressions(results: Results) -> list[str]:
    """What has passed, and does not any more."""
    known = baseline()
    return [f"{name}: {message or outcome}" for name, (outcome, _, message) in results.items()
            if outcome != "passed" and known.get(name) == "passed"]  # fmt: skip


def table(results: Results) -> list[str]:
    """Counts by tier, in Markdown."""
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, (outcome, *_) in results.items():
        for row in (suite()[name][0], "all"):
            rows[row][outcome] += 1
    lines = ["| tier | tests | passed | skipped | failed |", "| --- | ---: | ---: | ---: | ---: |"]
    for tier in (*TIERS, "all"):
        counts = rows[tier]
        if counts.total():
            parts = [counts.total(), *(counts[outcome] for outcome in ("passed", "skipped", "failed"))]
            lines.append(f"| {tier} | {' | '.join(map(str, parts))} |")
    return lines


def update(results: Results) -> None:
    """Write the baseline and the tables."""
    by_outcome: dict[str, list[str]] = collections.defaultdict(list)
    for name in sorted(results):
        by_outcome[results[name][0]].append(name)
    held = {"onnx": onnx.__version__, "tests": by_outcome}
    BASELINE.write_text(json.dumps(held, indent=0) + "\n", encoding="utf-8")
    lines = [f"The backend tests of ONNX {onnx.__version__}, by `tests/onnx_suite.py`:", "", *table(results), ""]
    failures = [name for name in sorted(results) if results[name][0] == "failed"]
    lines += ["What fails, and why:", "", "| test | |", "| --- | --- |"]
    for name in failures:
        why = next((r for start, r in REASONS.items() if name.split("/")[1].startswith(start)), results[name][2])
        lines.append(f"| {name} | {why.replace('|', '/')} |")
    TABLE.write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", default="", help="a regular expression for names")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what does not pass")
    parser.add_argument("--tier", choices=TIERS)
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N parts")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=60, help="seconds a test")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--update", action="store_true", help="write the baseline and the tables")
    args = parser.parse_args()
    start = time.perf_counter()
    if args.jobs > 1:
        results = _in_processes(args)
    else:
        shard, shards = map(int, args.shard.split("/"))
        names = [name for name, (tier, _) in sorted(suite().items()) if args.tier in (None, tier)]
        results = run([n for n in names if re.search(args.pattern, n)][shard - 1 :: shards], args.timeout)
    if args.out:
        args.out.write_text(json.dumps(results, indent=0), encoding="utf-8")
    if args.verbose:
        print(*(f"{o} {name}: {message}" for name, (o, _, message) in results.items() if o != "passed"), sep="\n")
    print(*table(results), sep="\n")
    slowest = sorted(((seconds, name) for name, (_, seconds, _) in results.items()), reverse=True)[:5]
    print(f"{time.perf_counter() - start:.0f} s; the slowest: {', '.join(f'{name} {s:.1f} s' for s, name in slowest)}")
    if args.update:
        update(results)
        return 0
    lost = regressions(results)
    print(*(f"passed before: {line}" for line in lost), sep="\n")
    return 1 if lost else 0


def _in_processes(args: argparse.Namespace) -> Results:
    """Shards of the suite, each in a process."""
    results: Results = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:

        def shard(k: int) -> Results:
            out = Path(folder) / f"{k}.json"
            command = [sys.executable, __file__, "-k", args.pattern, "--timeout", str(args.timeout), "--out", str(out)]
            command += ["--shard", f"{k}/{args.jobs}", *(["--tier", args.tier] if args.tier else [])]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
            return json.loads(out.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

        for found in pool.map(shard, range(1, args.jobs + 1)):
            results |= found
    return dict(sorted(results.items()))


if __name__ == "__main__":
    sys.exit(main())
