"""The core tier of ONNX's backend tests, in shards; `onnx_suite.py` runs all of them."""

from __future__ import annotations

import warnings

import onnx_suite
import pytest

SHARDS = 8


@pytest.mark.parametrize("shard", range(SHARDS))
def test_nothing_of_the_core_tier_that_passed_fails(shard: int) -> None:
    names = [name for name, (tier, _) in sorted(onnx_suite.suite().items()) if tier == "core"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, in what the tests compare with
        results = onnx_suite.run(names[shard::SHARDS])
    assert not onnx_suite.regressions(results)
    passed = [name for name, (outcome, *_) in results.items() if outcome == "passed"]
    assert len(passed) >= 0.99 * len(results), set(results) - set(passed)
