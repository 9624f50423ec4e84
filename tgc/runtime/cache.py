"""Machine code, plans of programs and their constants on disk, addressed by what they were made from.

One file per entry, named by its key, four parts separated by newlines:

    tgc machine code 1                                   magic and version of this format
    8f14e45fceea167a5a36dedd4bea2543...                  SHA-256 of all that follows, hexadecimal
    {"key": "...", "symbol": "...", "bytes": 5054, ...}  JSON: the key, the size of the payload, what the writer added
    ...                                                  the payload, as it is, from a multiple of 64 bytes on

An entry is data until its checksum, key and size have been checked: one that fails is reported with a `CacheWarning`,
removed, and counts as missing. The checksum finds damage, not malice: whoever may write the folder may run code in
the processes that read it, so the folder is created for its owner alone.

The environment: TGC_CACHE_DIR is the folder, TGC_CACHE_SIZE its size in MiB, TGC_CACHE=0 turns the cache off, and
TGC_CACHE=kernels keeps machine code alone, so that every process runs the passes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from tgc.errors import CacheError
from tgc.locks import Lock
from tgc.types import ALIGNMENT

MAGIC = b"tgc machine code 1"
SUFFIX = ".bin"
DEFAULT_LIMIT = 512 << 20  # bytes
KEPT = 0.75  # of the limit after an eviction, so that the next one is not due at once
TOUCH_SECONDS = 3600.0  # an entry read more often is marked as used no more than once in this time
STALE_SECONDS = 3600.0  # the unfinished file of a writer that died is removed after this time

_Data = TypeVar("_Data", bound=bytes | mmap.mmap)


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
        kind: `kernel`, `program`, `constant`, `arena` (how much a program needed), `schedule`, or `damaged`.
        name: of the kernel or the program's graph; the type of a constant.
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
        kinds = {"plan": "program", "symbol": "kernel", "region": "schedule", "constant": "constant", "arena": "arena"}
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
        found = self._read(key, lambda file: file.read())
        return None if found is None else found[0][found[1] :]

    def view(self, key: str) -> memoryview | None:
        """The same, not copied: the file is mapped, and its pages are shared by all processes that read it.

        What is mapped stays as it is when the entry is evicted or replaced. Its data are at a multiple of `ALIGNMENT`.
        """
        found = self._read(key, _mapped)
        return None if found is None else memoryview(found[0])[found[1] :]

    def _read(self, key: str, read: Callable[[BinaryIO], _Data]) -> tuple[_Data, int] | None:
        """A whole, sound entry, and where in it the payload begins."""
        if self.root is None or not self._readable:
            return None
        path = f"{self.root}{os.sep}{key}{SUFFIX}"  # there may be hundreds to read: `Path` would take half of the time
        try:
            with open(path, "rb", buffering=0) as file:
                unused = time.time() - os.fstat(file.fileno()).st_mtime
                data = read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up(error, reading=True)
            return None
        try:
            begin = _payload(data, key)
        except CacheError as error:
            warnings.warn(f"{path} is damaged and will be rebuilt: {error}", CacheWarning, stacklevel=3)
            with suppress(OSError):  # where it cannot be removed, `put` replaces it or says why it cannot
                os.unlink(path)
            return None
        if unused > TOUCH_SECONDS:
            self._touch(path)
        return data, begin

    def holds(self, key: str) -> bool:
        """Whether there is an entry, sound or not, which counts as used now."""
        path = None if self.root is None else self.root / f"{key}{SUFFIX}"
        if path is None or not path.exists():
            return False
        self._touch(path)
        return True

    @staticmethod
    def _touch(path: Path | str) -> None:
        with suppress(OSError):  # evicted in this moment, or in a folder that others prepared and keep
            os.utime(path)

    def put(self, key: str, payload: bytes | memoryview, meta: Mapping[str, str | int] | None = None) -> None:
        """Store `payload` under `key`, replacing what is there; `meta` is written into the entry for its readers."""
        if self.root is None or not self._writable:
            return
        import json  # needed by writers only

        header = json.dumps({"key": key, "bytes": len(payload), **(meta or {})}).encode()
        header += b" " * (-(len(MAGIC) + 64 + len(header) + 3) % ALIGNMENT) + b"\n"
        checksum = hashlib.sha256(header)
        checksum.update(payload)
        unfinished = self.root / f"{key}.{os.getpid()}.{threading.get_ident()}.tmp"
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.writelines((MAGIC, b"\n", checksum.hexdigest().encode(), b"\n", header, payload))
                size = file.tell()
            os.replace(unfinished, self.root / f"{key}{SUFFIX}")
            self._account(self.root, size)
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
            with suppress(PermissionError):  # Windows keeps what is mapped
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


def _mapped(file: BinaryIO) -> mmap.mmap | bytes:
    """The content of a file, mapped; there is no map of nothing."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


def _payload(data: bytes | mmap.mmap, key: str) -> int:
    """Where the payload of an entry begins.

    Raises:
        CacheError: the bytes are not a whole entry of this format stored under `key`.
    """
    if data[: len(MAGIC) + 1] != MAGIC + b"\n":
        raise CacheError(f"it begins with {data[:32]!r}, not with {MAGIC!r}")
    header = data.find(b"\n", len(MAGIC) + 1) + 1
    checked = memoryview(data)[header:]
    if hashlib.sha256(checked).hexdigest().encode() != data[len(MAGIC) + 1 : header - 1]:
        raise CacheError(f"its {len(data)} bytes do not have the checksum that they name")
    begin = data.find(b"\n", header) + 1
    if not data[header:begin].startswith(b'{"key": "%s",' % key.encode()):  # a whole entry, but another one, renamed
        raise CacheError(f"it is the entry {data[header : begin - 1].decode().rstrip()}")
    return begin
