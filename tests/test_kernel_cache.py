"""The disk cache: what is damaged is never handed out, and the file system never breaks a program."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tgc.errors import CacheError
from tgc.runtime.cache import (
    ALIGNMENT,
    DEFAULT_LIMIT,
    MAGIC,
    STALE_SECONDS,
    TOUCH_SECONDS,
    CacheWarning,
    KernelCache,
    content_key,
)

KEY, OTHER = content_key("one"), content_key("two")
PAYLOAD = bytes(range(256)) * 5


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "cache")


def only_entry(cache: KernelCache) -> Path:
    [path] = cache.entries()
    return path


def test_payloads_come_back(cache: KernelCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, PAYLOAD, {"symbol": "f", "tiles": 3})
    cache.put(OTHER, b"")
    assert cache.get(KEY) == PAYLOAD
    assert cache.get(OTHER) == b""
    assert KernelCache(cache.root).get(KEY) == PAYLOAD
    assert cache.view(KEY) == PAYLOAD
    assert [cache.holds(key) for key in (KEY, content_key("three"))] == [True, False]
    cache.put(KEY, b"new\n")
    assert cache.get(KEY) == b"new\n"


def test_an_entry_describes_itself(cache: KernelCache) -> None:
    cache.put(KEY, PAYLOAD, {"symbol": "softmax"})
    magic, _, header, payload = only_entry(cache).read_bytes().split(b"\n", 3)
    assert (magic, payload) == (MAGIC, PAYLOAD)
    assert header.decode().rstrip() == f'{{"key": "{KEY}", "bytes": {len(PAYLOAD)}, "symbol": "softmax"}}'
    assert only_entry(cache).stat().st_size % ALIGNMENT == len(PAYLOAD) % ALIGNMENT


def test_the_folder_is_for_its_owner_alone(cache: KernelCache) -> None:
    cache.put(KEY, PAYLOAD)
    assert cache.root is not None
    assert cache.root.stat().st_mode & 0o077 == 0


def test_keys_tell_sequences_apart() -> None:
    sequences = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("b", "a"), ("a\n1\nb",), ("1\na",)]
    assert len({content_key(*parts) for parts in sequences}) == len(sequences)
    assert content_key("ä", "b") == content_key("ä", "b")


def flip(byte: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:40],
    "cut in the payload": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "another version": lambda data: data.replace(MAGIC, MAGIC[:-1] + b"2", 1),
    "foreign": lambda data: b"\x7fELF" + bytes(2000),
    "another key": lambda data: data.replace(KEY.encode(), OTHER.encode()),
    "no newline": lambda data: data.replace(b"\n", b" "),
}
BITS = [(0, 0), (18, 3), (30, 1), (60, 7), (84, 0), (100, 2), (180, 5), (400, 0), (-2, 6)]
DAMAGE |= {f"bit {bit} of byte {byte}": flip(byte, bit) for byte, bit in BITS}


@pytest.mark.parametrize("read", [KernelCache.get, KernelCache.view], ids=["get", "view"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_reported_and_repaired(cache: KernelCache, damage: Callable[[bytes], bytes], read: Any) -> None:
    cache.put(KEY, PAYLOAD)
    path = only_entry(cache)
    data = path.read_bytes()
    assert damage(data) != data
    path.write_bytes(damage(data))
    with pytest.warns(CacheWarning, match="is damaged and will be rebuilt") as caught:
        assert read(cache, KEY) is None
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert read(cache, KEY) is None  # now without a warning: the file is gone
    cache.put(KEY, PAYLOAD)
    assert read(cache, KEY) == PAYLOAD


def test_a_sound_entry_under_another_name_is_damage(cache: KernelCache) -> None:
    cache.put(KEY, PAYLOAD)
    path = only_entry(cache)
    path.rename(path.with_name(path.name.replace(KEY, OTHER)))
    with pytest.warns(CacheWarning, match=f"it is the entry .*{KEY}"):
        assert cache.get(OTHER) is None


@pytest.mark.parametrize("first", ["get", "put"])
def test_a_folder_that_cannot_be_costs_one_warning(tmp_path: Path, first: str) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = KernelCache(tmp_path / "file" / "cache")
    use: dict[str, Callable[[], object]] = {"get": partial(cache.get, KEY), "put": partial(cache.put, KEY, PAYLOAD)}
    with pytest.warns(CacheWarning, match=r"cannot be used .* TGC_CACHE_DIR"):
        assert use[first]() is None
    assert [use[method]() for method in ("put", "get", "put")] == [None] * 3  # warnings are errors here
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_ends_writing_but_not_reading(cache: KernelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, PAYLOAD)

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.warns(CacheWarning, match="No space left"):
            cache.put(OTHER, PAYLOAD)
        cache.put(OTHER, PAYLOAD)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == PAYLOAD


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_what_was_unused_longest_goes_first(cache: KernelCache) -> None:
    keys = [content_key(str(k)) for k in range(10)]
    for k, key in enumerate(keys):
        cache.put(key, PAYLOAD)
        [path] = (p for p in cache.entries() if key in p.name)
        age(path, (20 - k) * TOUCH_SECONDS)
    assert cache.get(keys[0]) == PAYLOAD  # the oldest is now the one used last
    size = path.stat().st_size
    small = KernelCache(cache.root, limit=8 * size)
    small.put(OTHER, PAYLOAD)
    kept = {key for key in keys if small.get(key) is not None}
    assert kept == {keys[0], *keys[6:]}  # six entries are three quarters of the limit
    assert small.get(OTHER) == PAYLOAD


def test_the_limit_holds_while_writing(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, limit=20_000)
    for k in range(100):
        key = content_key(str(k))
        cache.put(key, PAYLOAD)
        assert sum(path.stat().st_size for path in cache.entries()) <= 20_000
        assert cache.get(key) == PAYLOAD


def test_an_entry_above_the_limit_stays_alone(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, limit=100)
    cache.put(KEY, PAYLOAD)
    age(only_entry(cache), 10)
    cache.put(OTHER, PAYLOAD)
    assert cache.get(OTHER) == PAYLOAD
    assert cache.get(KEY) is None


def test_files_of_dead_writers_are_removed(cache: KernelCache) -> None:
    assert cache.root is not None
    cache.root.mkdir()
    dead, alive, foreign = cache.root / "a.1.1.tmp", cache.root / "b.2.2.tmp", cache.root / "README"
    for path in (dead, alive, foreign):
        path.write_text("unfinished")
    age(dead, 2 * STALE_SECONDS)
    age(foreign, 2 * STALE_SECONDS)
    cache.put(KEY, PAYLOAD)
    assert (dead.exists(), alive.exists(), foreign.exists()) == (False, True, True)


def hammer(root: Path, seed: int) -> list[str]:
    """Write, read and evict shared entries; what went wrong."""
    cache = KernelCache(root, limit=30_000)
    wrong = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(150):
            number = (k * 7 + seed) % 12
            key, payload = content_key(str(number)), bytes([number]) * (1000 + 200 * number)
            cache.put(key, payload)
            other = (k * 5 + seed) % 12
            found = cache.get(content_key(str(other)))
            if found not in (None, bytes([other]) * (1000 + 200 * other)):
                wrong.append(f"entry {other} holds {len(found or b'')} bytes")
    return wrong + [str(warning.message) for warning in caught]


def test_processes_share_a_folder(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        results = pool.starmap(hammer, [(tmp_path / "cache", seed) for seed in range(4)])
    assert results == [[]] * 4
    cache = KernelCache(tmp_path / "cache")
    assert list(cache.entries())
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_the_environment_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TGC_CACHE", "TGC_CACHE_DIR", "TGC_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    default = KernelCache.default()
    assert default.root is not None
    assert (default.root.name, default.limit) == ("tgc", DEFAULT_LIMIT)
    monkeypatch.setenv("TGC_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TGC_CACHE_SIZE", "3")
    cache = KernelCache.default()
    assert (cache.root, cache.limit, cache.plans) == (tmp_path, 3 << 20, True)
    monkeypatch.setenv("TGC_CACHE", "kernels")
    assert not KernelCache.default().plans
    monkeypatch.setenv("TGC_CACHE", "0")
    off = KernelCache.default()
    off.put(KEY, PAYLOAD)
    assert off.root is None
    assert off.get(KEY) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"), [("TGC_CACHE", "maybe"), ("TGC_CACHE_SIZE", "big"), ("TGC_CACHE_SIZE", "0")]
)
def test_an_environment_without_meaning_is_an_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CacheError, match=f"{name} must be .*{value!r}"):
        KernelCache.default()
