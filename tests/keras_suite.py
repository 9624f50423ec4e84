"""Runs Keras's own tests, as its wheel has them, on tgc, or on another backend to compare with.

    python tests/keras_suite.py                                # all packages on tgc: a quarter of an hour
    python tests/keras_suite.py layers/core ops/nn_test.py     # folders and files below keras/src
    python tests/keras_suite.py ops/numpy_test.py -k test_add  # what pytest's -k selects
    python tests/keras_suite.py --shard 2/8 --jobs 2 --out tgc.json
    python tests/keras_suite.py --backend jax --python OTHER/bin/python --out jax.json
    python tests/keras_suite.py --report tgc.json jax.json     # the table keras_suite.md, and what is not listed

Results are added to those that the file given by --out holds. Tests that fail on tgc and pass on JAX are listed with
their reasons in `keras_suite_failures.txt`; with --report, a failure that is not listed or a listed test that passes is
an error (exit status 1). Packages that neither has keep their rows. The interpreters need pytest besides Keras, and
JAX, beside which many tests hold dtypes; with TensorFlow some more tests run.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
FAILURES = HERE / "keras_suite_failures.txt"
TABLE = HERE / "keras_suite.md"
PACKAGES = (
    "activations", "backend/common", "callbacks", "initializers", "layers", "losses", "metrics", "models", "ops",
    "optimizers", "random", "regularizers", "saving", "trainers",
)  # fmt: skip
TITLE = "Keras's own tests, by `tests/keras_suite.py`; packages that have been run on both:"
COLUMNS = ("package", "JAX passes", "not for tgc", "tgc passes of the others", "", "fails")
MARKERS = ("requires_trainable_backend: of a backend with gradients", "multi_device: of several devices")
# Lists of backends in tests, to which ours is added: file -> (text, what stands in its place)
PATCHES = {
    "trainers/trainer_test.py": [
        ('elif backend.backend() == "numpy":', 'elif backend.backend() == "tgc":'),
        ('"torch": "cpu",', '"torch": "cpu", "tgc": "cpu",'),
    ],
}
Results = dict[str, list[Any]]  # test -> outcome, seconds, last line of the error


class Recorder:
    """A plug-in of pytest that bounds the time of each test and writes a line when it begins and when it has ended."""

    def __init__(self, path: Path, timeout: int) -> None:
        self.file = path.open("a", encoding="utf-8")
        self.timeout = timeout

    def _write(self, *fields: Any) -> None:
        self.file.write(json.dumps(fields) + "\n")
        self.file.flush()

    def pytest_configure(self, config: Any) -> None:
        for marker in MARKERS:
            config.addinivalue_line("markers", marker)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write("begins", nodeid)
        signal.alarm(self.timeout)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        signal.alarm(0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash is not None else str(report.longrepr or "")
            self._write("ended", report.nodeid, outcome, round(report.duration, 3), " ".join(message.split())[:300])

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self._write("ended", report.nodeid, "failed", 0.0, " ".join(str(report.longrepr).split())[-300:])


def run_here(backend: str, results: Path, timeout: int, arguments: list[str]) -> int:
    """Run pytest in this process."""
    sys.path.pop(0)  # this folder, whose modules are no packages
    if backend == "tgc":
        import tgc.keras  # noqa: F401
    else:
        os.environ["KERAS_BACKEND"] = backend
    import keras
    import pytest

    def skip_if_backend(name: str, reason: str) -> Any:
        return pytest.mark.skipif(keras.backend.backend() == name, reason=reason)

    conftest = ModuleType("conftest")  # of Keras's repository, from which tests import this; no wheel has it
    conftest.__dict__["skip_if_backend"] = skip_if_backend
    sys.modules["conftest"] = conftest

    def stop(*_: object) -> None:
        raise TimeoutError(f"the test took more than {timeout} s")

    signal.signal(signal.SIGALRM, stop)
    root = Path(keras.__file__).parents[1]
    if backend == "tgc":
        import_patched(root, arguments)
    options = [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        os.devnull,
        "--rootdir",
        str(root),
        "-W",
        "ignore",
        "--continue-on-collection-errors",
    ]
    return int(pytest.main([*options, *arguments], plugins=[Recorder(results, timeout)]))


def import_patched(root: Path, arguments: list[str]) -> None:
    """Import those of the tests that are to be patched, so that pytest finds them imported."""
    for name, replaced in PATCHES.items():
        path = root / "keras" / "src" / name
        if not any(argument.startswith(str(path)) for argument in arguments):
            continue
        text = path.read_text(encoding="utf-8")
        for old, new in replaced:
            text = text.replace(old, new)
        module = ModuleType(f"keras.src.{name.removesuffix('.py').replace('/', '.')}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module
        exec(compile(text, path, "exec"), module.__dict__)


def source(python: str) -> Path:
    """The folder keras/src of an interpreter."""
    where = "import importlib.util as u; print(u.find_spec('keras').submodule_search_locations[0])"
    done = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip()) / "src"


def test_files(root: Path, selection: Sequence[str]) -> list[Path]:
    """Test files below `root`, in order."""
    found: set[Path] = set()
    for name in selection:
        path = root / name
        if not path.exists():
            raise SystemExit(f"there is no {path}")
        found |= {path} if path.is_file() else set(path.rglob("*_test.py"))
    return sorted(found)


def run_files(files: Sequence[str], args: argparse.Namespace, python: str) -> Results:
    """Results of some files, in a process of their own; another one goes on where one crashes or hangs."""
    results: Results = {}
    while True:
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "lines"
            lines.touch()
            command = [python, __file__, "--inner", str(lines), "--backend", args.backend, "--timeout"]
            command += [
                str(args.timeout),
                "--",
                *files,
                "-q",
                "--tb=short" if args.verbose else "--tb=no",
                "--no-header",
            ]
            command += ["-k", args.keyword] if args.keyword else []
            command += [part for test in results for part in ("--deselect", test)]
            with subprocess.Popen(command, stdout=None if args.verbose else subprocess.DEVNULL) as process:
                ended = _wait(process, lines, 3 * args.timeout)
            begun = ""
            for line in lines.read_text(encoding="utf-8").splitlines():
                what, test, *rest = json.loads(line)
                begun = test if what == "begins" else ""
                if what == "ended":
                    results[test] = rest
        if not begun:
            return results
        results[begun] = ["failed", 0.0, "the process crashed" if ended else "the process hung"]


def _wait(process: subprocess.Popen[bytes], lines: Path, patience: int) -> bool:
    """Whether a process ended by itself; it is killed if it writes no line for so many seconds."""
    while True:
        size = lines.stat().st_size
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return True
        if lines.stat().st_size == size:
            process.kill()
            return False


def chunks(files: Sequence[Path], most: int = 400_000) -> Iterator[list[str]]:
    """Files in groups of so many bytes of source."""
    group: list[str] = []
    size = 0
    for file in files:
        if group and size + file.stat().st_size > most:
            yield group
            group, size = [], 0
        group.append(str(file))
        size += file.stat().st_size
    if group:
        yield group


def package_of(test: str) -> str:
    """The package of `PACKAGES` that a test belongs to."""
    inner = test.removeprefix("keras/src/")
    return next((p for p in PACKAGES if inner.startswith(f"{p}/")), inner.split("/")[0])


def listed() -> dict[str, str]:
    """Test -> reason why it fails; the test may be the beginning of a name, ending in `*`."""
    lines = FAILURES.read_text(encoding="utf-8").splitlines() if FAILURES.exists() else []
    parts = (line.partition(" # ") for line in lines if line and not line.startswith("#"))
    return {test.strip(): reason for test, _, reason in parts}


def counted() -> dict[str, list[int]]:
    """Package -> the first counts of its row in the table that is there."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|"))
    return {package: [int(n) for n in cells[:3]] for package, *cells in rows if package in PACKAGES}


def report(ours: Results, theirs: Results) -> int:
    """Write the table, and tell what is not as it is listed."""
    known = listed()
    rows: dict[str, collections.Counter[str]] = {}
    failures = []
    classes = {test.rpartition("::")[0] for test in ours}
    for test in sorted(ours.keys() | theirs.keys()):
        # Some classes make tests of sparse tensors only for backends that have these.
        absent = "skipped" if test.rpartition("::")[0] in classes else "missing"
        mine, other = ours.get(test, [absent])[0], theirs.get(test, ["missing"])[0]
        row = rows.setdefault(package_of(test), collections.Counter())
        if other == "passed":
            row.update(["jax", mine])
        if other == "passed" and mine in ("failed", "missing"):
            failures.append(test)
    # Tests skip sparse tensors, and what is JAX's own.
    found = {p: [row["jax"], row["skipped"], row["passed"]] for p, row in rows.items() if row["jax"]}
    counts = dict(sorted((counted() | found).items()))
    counts["all"] = [sum(column) for column in zip(*counts.values(), strict=True)]
    table = [f"| {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    for package, (other, skipped, passed) in counts.items():
        meant = other - skipped
        cells = [package, other, skipped, passed, f"{passed / max(meant, 1):.2%}", meant - passed]
        table.append(f"| {' | '.join(map(str, cells))} |")
    TABLE.write_text("\n".join([TITLE, "", *table, ""]), encoding="utf-8")
    print(*table, sep="\n")

    def reason(test: str) -> str | None:
        return next(
            (why for name, why in known.items() if test == name or (name[-1:] == "*" and test.startswith(name[:-1]))),
            None,
        )

    new = [test for test in failures if reason(test) is None]
    run = [name for name in known if package_of(name) in found]
    passed = [name for name in run if not any(test == name or test.startswith(name.rstrip("*")) for test in failures)]
    print(*[f"new failure: {test} # {ours.get(test, ['', 0, 'missing'])[2]}" for test in new], sep="\n")
    print(*[f"passes now: {name}" for name in passed], sep="\n")
    return 1 if new or passed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("selection", nargs="*", help="folders or files below keras/src, or tests of a file")
    parser.add_argument("-k", dest="keyword", default="", help="as pytest's")
    parser.add_argument("-v", "--verbose", action="store_true", help="show pytest's output")
    parser.add_argument("--backend", default="tgc")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the backend")
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N parts of the files")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=60, help="seconds a test")
    parser.add_argument("--out", type=Path, help="a JSON file to which results are added")
    parser.add_argument("--report", nargs=2, type=Path, metavar=("TGC", "JAX"), help="compare two such files")
    parser.add_argument("--inner", type=Path, help=argparse.SUPPRESS)
    given = sys.argv[1:]
    own, inner = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    args = parser.parse_args(own)
    if args.inner:
        return run_here(args.backend, args.inner, args.timeout, inner)
    if args.report:
        ours, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in args.report)
        return report(ours, theirs)

    root = source(args.python)
    shard, shards = map(int, args.shard.split("/"))
    named = [name for name in args.selection if "::" in name]
    files = test_files(root, [n for n in args.selection if n not in named] or (() if named else PACKAGES))
    groups = [*chunks(files[shard - 1 :: shards]), *([[str(root / name) for name in named]] if named else [])]
    results: Results = {}
    start = time.perf_counter()
    with ThreadPoolExecutor(args.jobs) as pool:
        for found in pool.map(lambda group: run_files(group, args, args.python), groups):
            results |= found
            if args.out:
                held = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
                args.out.write_text(json.dumps({**held, **results}, indent=0, sort_keys=True), encoding="utf-8")
    for test, (outcome, _, message) in results.items():
        if outcome == "failed":
            print(f"{test} # {message}")
    counts = collections.Counter(outcome for outcome, *_ in results.values())
    total = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
    print(f"{total} of {len(results)} in {time.perf_counter() - start:.0f} s")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
