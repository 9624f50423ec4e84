"""Machine code and plans of programs on disk, addressed by what they were made from.

One file per entry, named by its key, four parts separated by newlines:

    tgc machine code 1                                   magic and version of this format
    8f14e45fceea167a5a36dedd4bea2543...                  SHA-256 of all that follows, hexadecimal
    {"key": "...", "symbol": "...", "bytes": 5054, ...}  JSON: the key, the size of the payload, what the writer added
    ...                                                  the payload, as it is

An entry is data until its checksum, key and size have been checked: one that fails is reported with a `CacheWarning`,
removed, and counts as missing. The checksum finds damage, not malice: whoever may write the folder may run code in
the processes that read it, so the folder is created for its owner alone.

The environment: TGC_CACHE_DIR is the folder, TGC_CACHE_SIZE its size in MiB, TGC_CACHE=0 turns the cache off, and
TGC_CACHE=kernels keeps machine code alone, so that every process runs the passes.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tgc.errors import CacheError
from tgc.locks import Lock

MAGIC = b"tgc machine code 1"
SUFFIX = ".bin"
DEFAULT_LIMIT = 512 << 20  # bytes
KEPT = 0.75  # of the limit after an eviction, so that the next one is not due at once
TOUCH_SECONDS = 3600.0  # an entry read more often is marked as used no more than once in this time
STALE_SECONDS = 3600.0  # the unfinished file of a writer that died is removed after this time


class CacheWarning(UserWarning):
    """A cache entry was damaged, or the cache folder cannot be used."""


def content_key(*parts: str) -> str:
    """SHA-256, hexadecimal, of a sequence of texts; sequences that differ have different keys."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(b"%d\n" % len(data))
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an entry without reading its payload.

    Attributes:
        kind: `kernel`, `program`, `schedule`, or `damaged`.
        name: of the kernel or the program's graph.
        bytes: of the file.
        used: when it was last read or written, in seconds since the epoch.
    """

    key: str
    kind: str
    name: str
    bytes: int
    used: float

    @staticmethod
    def of(path: Path, size: int, used: float) -> Entry:
        import json  # needed by readers of headers only

        with path.open("rb") as file:
            magic, _, header = (file.readline(1 << 16) for _ in range(3))
        try:
            meta = json.loads(header) if magic == MAGIC + b"\n" else None
        except ValueError:
            meta = None
        if not isinstance(meta, dict):
            return Entry(path.stem, "damaged", "", size, used)
        kinds = {"plan": "program", "symbol": "kernel", "region": "schedule"}
        found = next((field for field in kinds if field in meta), None)
        return Entry(path.stem, kinds[found] if found else "other", str(meta.get(found, "")), size, used)


class KernelCache:
    """Payloads in a folder, by key; safe for any number of threads and processes at once.

    Args:
        root: the folder, created when first written to; None makes a cache that is always empty.
        limit: bytes that the folder may hold; beyond it the entries that were unused longest are removed.
        plans: whether plans of programs are wanted in it.

    Nothing here raises because of the file system. A folder that cannot be read or written costs one `CacheWarning`;
    from then on this object leaves it alone, or only reads it.
    """

    def __init__(self, root: Path | None, limit: int = DEFAULT_LIMIT, plans: bool = True) -> None:
        self.root = root
        self.limit = limit
        self.plans = plans
        self._readable = self._writable = root is not None
        self._used: int | None = None  # bytes in the folder, as far as this process knows; None before the first put
        self._lock = Lock()

    @classmethod
    def default(cls) -> KernelCache:
        """The cache that the environment asks for; in the user's cache folder unless told otherwise.

        Raises:
            CacheError: TGC_CACHE or TGC_CACHE_SIZE has no meaning.
        """
        switch = os.environ.get("TGC_CACHE", "1")
        if switch not in ("0", "1", "kernels"):
            raise CacheError(f"TGC_CACHE must be 0, 1 or kernels, not {switch!r}")
        if switch == "0":
            return cls(None)
        limit = DEFAULT_LIMIT
        if size := os.environ.get("TGC_CACHE_SIZE"):
            if not size.isdecimal() or int(size) < 1:
                raise CacheError(f"TGC_CACHE_SIZE must be a positive number of MiB, not {size!r}")
            limit = int(size) << 20
        if folder := os.environ.get("TGC_CACHE_DIR"):
            return cls(Path(folder).expanduser(), limit, switch == "1")
        from platformdirs import user_cache_dir

        return cls(Path(user_cache_dir("tgc", appauthor=False)), limit, switch == "1")

    def get(self, key: str) -> bytes | None:
        """The payload stored under `key`; None if there is none, or none that is sound."""
        if self.root is None or not self._readable:
            return None
        path = self.root / f"{key}{SUFFIX}"
        try:
            with path.open("rb") as file:
                unused = time.time() - os.fstat(file.fileno()).st_mtime
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error, reading=True)
            return None
        try:
            payload = _payload(data, key)
        except CacheError as error:
            warnings.warn(f"{path} is damaged and will be rebuilt: {error}", CacheWarning, stacklevel=2)
            with suppress(OSError):  # where it cannot be removed, `put` replaces it or says why it cannot
                path.unlink()
            return None
        if unused > TOUCH_SECONDS:
            with suppress(OSError):  # evicted in this moment, or in a folder that others prepared and keep
                os.utime(path)
        return payload

    def put(self, key: str, payload: bytes, meta: Mapping[str, str | int] | None = None) -> None:
        """Store `payload` under `key`, replacing what is there; `meta` is written into the entry for its readers."""
        if self.root is None or not self._writable:
            return
        import json  # needed by writers only

        header = json.dumps({"key": key, "bytes": len(payload), **(meta or {})}).encode()
        checked = header + b"\n" + payload
        data = b"\n".join((MAGIC, hashlib.sha256(checked).hexdigest().encode(), checked))
        unfinished = self.root / f"{key}.{os.getpid()}.{threading.get_ident()}.tmp"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_bytes(data)
            os.replace(unfinished, self.root / f"{key}{SUFFIX}")
            self._account(self.root, len(data))
        except OSError as error:
            self._give_up(error, reading=False)

    def entries(self) -> Iterator[Path]:
        """The files of the entries, in no order."""
        if self.root is not None:
            yield from self.root.glob(f"*{SUFFIX}")

    def listing(self) -> Iterator[Entry]:
        """What is in the folder, in no order; entries without a sound header are of kind `damaged`."""
        for used, size, path in _listing(self.root) if self.root is not None and self.root.exists() else ():
            with suppress(FileNotFoundError):  # evicted by another process
                yield Entry.of(path, size, used)

    def shrink(self, limit: int) -> tuple[int, int]:
        """Remove the entries unused longest until at most `limit` bytes are left; their number and bytes."""
        before = list(self.listing())
        with self._lock:
            if self.root is not None and before:
                self._used = _evict(self.root, limit, least=0)
        left = {e.key for e in self.listing()}
        gone = [e for e in before if e.key not in left]
        return len(gone), sum(e.bytes for e in gone)

    def _give_up(self, error: OSError, *, reading: bool) -> None:
        """Stop writing, and reading too if `reading` failed; the first to notice reports it."""
        with self._lock:
            reported = not self._writable
            self._writable = False
            self._readable = self._readable and not reading
        if not reported:
            warnings.warn(
                f"the kernel cache {self.root} cannot be used ({error}): kernels are compiled anew in every process. "
                "Set TGC_CACHE_DIR to a folder that can be written, or TGC_CACHE=0.",
                CacheWarning,
                stacklevel=3,
            )

    def _account(self, root: Path, written: int) -> None:
        """Note the bytes of a new entry; remove old ones when the folder has outgrown its limit."""
        with self._lock:
            if self._used is None:
                self._used = sum(size for _, size, _ in _listing(root))
            else:
                self._used += written
            if self._used > self.limit:
                self._used = _evict(root, int(KEPT * self.limit))


def _evict(root: Path, limit: int, least: int = 1) -> int:
    """Remove the entries unused longest until `limit` bytes are left, but for the `least` newest; the bytes left."""
    left = 0
    for number, (_, size, path) in enumerate(sorted(_listing(root), reverse=True)):
        if number >= least and left + size > limit:
            limit = 0  # all older ones go too, whatever their size
            path.unlink(missing_ok=True)
        else:
            left += size
    return left


def _listing(root: Path) -> Iterator[tuple[float, int, Path]]:
    """Last use, bytes and path of every entry; removes the files of writers that died on the way."""
    with os.scandir(root) as files:
        for file in files:
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # evicted by another process
            if file.name.endswith(SUFFIX):
                yield status.st_mtime, status.st_size, Path(file.path)
            elif file.name.endswith(".tmp") and time.time() - status.st_mtime > STALE_SECONDS:
                Path(file.path).unlink(missing_ok=True)


def _payload(data: bytes, key: str) -> bytes:
    """The payload of an entry's bytes.

    Raises:
        CacheError: the bytes are not a whole entry of this format stored under `key`.
    """
    magic, _, rest = data.partition(b"\n")
    if magic != MAGIC:
        raise CacheError(f"it begins with {magic[:32]!r}, not with {MAGIC!r}")
    checksum, _, checked = rest.partition(b"\n")
    if hashlib.sha256(checked).hexdigest().encode() != checksum:
        raise CacheError(f"its {len(data)} bytes do not have the checksum that they name")
    header, _, payload = checked.partition(b"\n")
    if not header.startswith(b'{"key": "%s",' % key.encode()):  # a whole entry, but another one, renamed
        raise CacheError(f"it is the entry {header.decode()}")
    return payload
