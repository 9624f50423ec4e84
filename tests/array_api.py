"""Runs the test suite of the Python array API standard on `tgc.numpy`.

    git clone --recurse-submodules https://github.com/data-apis/array-api-tests
    pip install -r array-api-tests/requirements.txt
    python tests/array_api.py array-api-tests [--compiled] [--max-examples N]

Eagerly, or with `--compiled` on `array_api_compiled`, in which every call is a compiled program. The failures are
compared with those that are listed, with their reasons, in `array_api_failures.txt` or
`array_api_compiled_failures.txt`: a failure that is not listed, or a listed test that passes, is an error (exit status
1). Not every run finds the failures whose reasons start with "at times", which depend on single examples: the suite
does not draw alike in every run, whatever its seed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def run(suite: Path, module: str, examples: int, only: list[str]) -> dict[str, tuple[str, str]]:
    """Outcome and last line of the error of each test of the suite."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *only]
        command += ["--max-examples", str(examples), "--disable-deadline", "--derandomize"]
        command += ["--json-report", f"--json-report-file={report}", "--tb=short", "--no-header", "--no-summary"]
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "ARRAY_API_TESTS_MODULE": module, "PYTHONPATH": path}
        subprocess.run(command, cwd=suite, env=env, check=False)
        if not report.exists():
            raise SystemExit("the suite did not run")
        tests = json.loads(report.read_text())["tests"]
    found = {}
    for test in tests:
        crash = next((test[s]["crash"]["message"] for s in ("setup", "call") if "crash" in test.get(s, {})), "")
        found[test["nodeid"]] = (test["outcome"], " ".join(crash.split())[:200])
    return found


def listed(path: Path) -> dict[str, str]:
    """Test id -> reason."""
    lines = path.read_text().splitlines() if path.exists() else []
    parts = (line.partition(" # ") for line in lines if line and not line.startswith("#"))
    return {test: reason for test, _, reason in parts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--max-examples", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], help="test files or ids; nothing is then compared")
    args = parser.parse_args()
    module, name = ("array_api_compiled", "array_api_compiled_") if args.compiled else ("tgc.numpy", "array_api_")
    found = run(args.suite, module, args.max_examples, args.only)
    known = listed(HERE / f"{name}failures.txt")
    counts = collections.Counter(outcome for outcome, _ in found.values())
    failed = {test: why for test, (outcome, why) in found.items() if outcome in ("failed", "error")}
    for test, why in failed.items():
        print(f"{test} # {known.get(test, why)}")
    print(", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())), f"of {len(found)}")
    if args.only:
        return 0
    new = [test for test in failed if test not in known]
    mended = [test for test, why in known.items() if test not in failed and not why.startswith("at times")]
    print(*[f"new failure: {test}" for test in new], *[f"passes now: {test}" for test in mended], sep="\n")
    return 1 if new or mended else 0


if __name__ == "__main__":
    sys.exit(main())
