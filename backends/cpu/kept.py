"""Plans in the cache: tables in an entry of their own, large constants in entries by their content.

Programs for several sizes of one model, which read the same weights, hold them once. Constants are mapped, not read:
their pages are the page cache's, and only their checksums take time, which threads share.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tgc.backends.cpu.plan import Plan
from tgc.runtime.cache import CacheWarning, KernelCache

SHARED = 1 << 16  # bytes from which on a constant has an entry of its own
SHARE = 0.5  # of the cache that one plan, with its constants, may take


def put_plan(cache: KernelCache, key: str, plan: Plan) -> None:
    """Keep a plan under a key, unless it is too large for the cache."""
    if not cache.plans or plan.nbytes > cache.limit * SHARE:
        return
    shared = {base: c for base, c in plan.constants.items() if c.nbytes >= SHARED}
    keys: dict[int, str] = {}
    for base, c in shared.items():
        content = c.reshape(-1).view(np.uint8).data
        keys[base] = own = hashlib.sha256(content).hexdigest()
        if not cache.holds(own):
            cache.put(own, content, {"constant": f"{c.dtype}{list(c.shape)}"})
    small = {base: c for base, c in plan.constants.items() if base not in keys}
    data = replace(plan, constants=small).to_bytes()
    cache.put(key, json.dumps(list(keys.items())).encode() + b"\n" + data, {"plan": plan.name})


def get_plan(cache: KernelCache, key: str, threads: int) -> Plan | None:
    """The plan that was kept under a key; None if it, or one of its constants, is there no more.

    Args:
        threads: how many may compute checksums.
    """
    data = cache.get(key) if cache.plans else None
    if data is None:
        return None
    listed, _, rest = data.partition(b"\n")
    constants = _views(cache, dict(json.loads(listed)), threads)
    if constants is None:
        return None
    plan = Plan.of_bytes(rest)
    return replace(plan, constants={**plan.constants, **constants})


def _views(cache: KernelCache, keys: Mapping[int, str], threads: int) -> dict[int, np.ndarray] | None:
    """The constants under some keys; None if one is not there."""
    found: dict[int, np.ndarray | None] = {}
    errors: list[Exception] = []
    waiting = list(keys.items())

    def view() -> None:
        while waiting and not errors:
            try:
                base, key = waiting.pop()
            except IndexError:  # another thread has just taken the last one
                return
            try:
                content = cache.view(key)
            except CacheWarning as error:  # where warnings are errors
                errors.append(error)
                return
            found[base] = None if content is None else np.frombuffer(content, np.uint8)

    helpers = [threading.Thread(target=view) for _ in range(min(threads, len(waiting)) - 1)]
    for helper in helpers:
        helper.start()
    view()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
    views = {base: c for base, c in found.items() if c is not None}
    return views if len(views) == len(keys) else None
