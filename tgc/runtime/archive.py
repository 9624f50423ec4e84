"""The file that holds a saved program: a zip whose members are stored as they are, so that it is read by mapping it.

Tensors lie in one member, `tensors.safetensors`, from a multiple of 64 bytes on, each under the SHA-256 of its bytes:
equal ones are stored once, and the pages of those that are used are shared by all processes that map the file.
`manifest.json`, the last member, has the size and the SHA-256 of every other member, and the CRC-32 of every tensor,
which is checked at memory's speed.

A reader trusts nothing: names are those of a fixed layout, members are uncompressed regular files that do not overlap,
sizes are compared before anything is read, and every byte that is used has been checked. The checksums find damage, not
malice: who can write such a file can write what programs run.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tgc.errors import ArtifactError
from tgc.types import ALIGNMENT

MANIFEST, TENSORS = "manifest.json", "tensors.safetensors"
FORMAT, VERSION = "tgc artifact", 1
LARGEST_MANIFEST = 64 << 20  # bytes
MOST_MEMBERS = 1 << 16
_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members: equal programs are equal files
_LOCAL = struct.Struct("<4s5H3I2H")  # the header before a member's data
_PADDING = 0x5467  # the number of the extra field that fills a header


# what Python's zipfile raises where a file is none, or of a kind that it does not read
UNREADABLE = zipfile.BadZipFile, ValueError, struct.error, OverflowError, NotImplementedError, EOFError


def tensor_name(array: np.ndarray) -> str:
    """The name under which a tensor is stored."""
    return hashlib.sha256(_bytes(array)).hexdigest()[:32]


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def write_archive(
    path: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    members: Mapping[str, bytes],
    tensors: Mapping[str, np.ndarray],
    labels: Mapping[str, tuple[str, tuple[int, ...]]],
) -> None:
    """Write a file at once: it has its old or its new content, whatever happens.

    Args:
        manifest: data for JSON, beside which that of the members is written.
        members: name -> content.
        tensors: those of `tensor_name` -> array.
        labels: the dtype in safetensors' terms and the shape of tensors; others are bytes.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    # those of whole cache lines first, so that they begin at one
    order = sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGNMENT != 0, name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        size = tensors[name].nbytes
        dtype, shape = labels.get(name, ("U8", (size,)))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    front = struct.pack("<Q", len(text)) + text
    listed = {name: _entry(data) for name, data in members.items()}
    about = {
        "format": FORMAT,
        "version": VERSION,
        **manifest,
        "members": listed,
        "tensors": {**_entry(front), "crc32": {name: zlib.crc32(_bytes(tensors[name])) for name in order}},
    }
    try:
        with new.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(_info(TENSORS, file.tell()), "w", force_zip64=True) as member:
                member.write(front)
                for name in order:
                    member.write(_bytes(tensors[name]))
            for name, data in members.items():
                archive.writestr(_info(name), data)
            archive.writestr(_info(MANIFEST), json.dumps(about, separators=(",", ":")).encode())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _entry(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


ZIP64 = 20  # bytes of the extra field that zipfile writes for a member that may be large


def _info(name: str, begin: int | None = None) -> zipfile.ZipInfo:
    """What the zip says of a member; of one that begins at `begin` the data are at a multiple of `ALIGNMENT`."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.create_system = 3  # Unix, wherever it is written
    if begin is not None:
        filled = -(begin + _LOCAL.size + len(name) + ZIP64 + 4) % ALIGNMENT
        info.extra = struct.pack("<HH", _PADDING, filled) + bytes(filled)
    return info


class Archive:
    """An archive, mapped. Members are checked when it is opened, tensors when they are first read.

    Attributes:
        path: of the file.
        manifest: the JSON in it.
        members: name -> content, as a view of the file.
        tensors: their names, with the sizes in bytes.

    Raises:
        ArtifactError: the file is no archive, damaged, or of another version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._checked: set[str] = set()
        if not stat.S_ISREG(self.path.stat().st_mode):  # to open a pipe would wait for its writer
            raise ArtifactError(f"{self.path} is no regular file")
        with self.path.open("rb") as file:
            try:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                extents = _extents(file, view)
            except UNREADABLE as error:
                raise ArtifactError(f"{self.path} is no whole zip file: {error}") from error
            except ArtifactError as error:
                raise ArtifactError(f"{self.path}: {error}") from error
        try:
            self.manifest = _manifest(view, extents)
            self.members = dict(self._sound(view, extents))
            self._data, self.tensors = _tensors(view, extents, self.manifest["tensors"])
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    def _sound(self, view: memoryview, extents: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, memoryview]]:
        """The members, each of the size and the checksum that the manifest says."""
        listed = self.manifest["members"]
        if extents.keys() != {*listed, MANIFEST, TENSORS}:
            raise ArtifactError("the manifest lists other members than there are")
        for name, entry in listed.items():
            begin, end = extents[name]
            yield name, _checked(view[begin:end], entry, name)

    def tensor(self, name: str) -> np.ndarray:
        """The bytes of a tensor, uint8 and read-only, which stay in the file.

        Raises:
            ArtifactError: there is no such tensor, or it is damaged.
        """
        if name not in self.tensors:
            raise ArtifactError(f"{self.path}: it has no tensor {name!r:.60}")
        begin, end = self.tensors[name]
        found = np.frombuffer(self._data[begin:end], np.uint8)
        if name not in self._checked:
            if zlib.crc32(self._data[begin:end]) != self.manifest["tensors"]["crc32"][name]:
                raise ArtifactError(f"{self.path}: tensor {name} is damaged: it has another checksum")
            self._checked.add(name)
        return found


def _extents(file: Any, view: memoryview) -> dict[str, tuple[int, int]]:
    """Where the data of each member of a zip lie."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise ArtifactError(f"it has {len(infos)} members")
    found: dict[str, tuple[int, int]] = {}
    for info in infos:
        name, mode = info.filename, info.external_attr >> 16
        if not _NAME.fullmatch(name) or name != info.orig_filename:
            raise ArtifactError(f"a member has the name {info.orig_filename!r:.80}")
        if name in found:
            raise ArtifactError(f"two members have the name {name}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & ~0x800:
            raise ArtifactError(f"member {name} is not stored as it is")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise ArtifactError(f"member {name} is no regular file")
        head = view[info.header_offset : info.header_offset + _LOCAL.size]
        magic, *_, length, extra = _LOCAL.unpack(head)
        begin = info.header_offset + _LOCAL.size
        if magic != b"PK\x03\x04" or bytes(view[begin : begin + length]) != name.encode():
            raise ArtifactError(f"member {name} does not lie where the zip says")
        begin += length + extra
        if begin + info.file_size > len(view):
            raise ArtifactError(f"member {name} goes beyond the end of the file")
        if name == MANIFEST and zlib.crc32(view[begin : begin + info.file_size]) != info.CRC:
            raise ArtifactError("its manifest is damaged: it has another checksum")
        found[name] = begin, begin + info.file_size
    ends = sorted(found.values())
    if any(a[1] > b[0] for a, b in pairwise(ends)):
        raise ArtifactError("members overlap")
    return found


def _manifest(view: memoryview, extents: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """The manifest, in the form that the functions here read; the rest is for others to check."""
    if MANIFEST not in extents:
        raise ArtifactError("it has no manifest")
    begin, end = extents[MANIFEST]
    if end - begin > LARGEST_MANIFEST:
        raise ArtifactError(f"its manifest takes {end - begin} bytes")
    try:
        found = json.loads(bytes(view[begin:end]))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"its manifest is no JSON: {error}") from error
    match found:
        case {"format": "tgc artifact", "version": int(version)} if version != VERSION:
            raise ArtifactError(f"it has version {version} of the format; this tgc reads version {VERSION}")
        case {
            "format": "tgc artifact",
            "members": dict(members),
            "tensors": {"bytes": int(), "sha256": str(), "crc32": dict(sums)},
        } if all(_is_entry(e) for e in members.values()) and all(isinstance(c, int) for c in sums.values()):
            return dict(found)
    raise ArtifactError("its manifest is not one of a tgc artifact")


def _is_entry(entry: Any) -> bool:
    match entry:
        case {"bytes": int(), "sha256": str()}:
            return True
    return False


def _checked(data: memoryview, entry: Mapping[str, Any], name: str) -> memoryview:
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ArtifactError(f"member {name} is damaged: its {len(data)} bytes do not have the checksum in the manifest")
    return data


def _tensors(
    view: memoryview, extents: Mapping[str, tuple[int, int]], entry: Mapping[str, Any]
) -> tuple[memoryview, dict[str, tuple[int, int]]]:
    """The data of all tensors, and where in them each lies."""
    begin, end = extents[TENSORS]
    front = entry["bytes"]
    if not 8 < front <= end - begin:
        raise ArtifactError(f"member {TENSORS} has no header of {front} bytes")
    head = _checked(view[begin : begin + front], entry, TENSORS)
    data = view[begin + front : end]
    found: dict[str, tuple[int, int]] = {}
    for name, tensor in json.loads(bytes(head[8:])).items():
        match tensor:
            case {"data_offsets": [int(first), int(last)]} if (
                _DIGEST.fullmatch(name) and name in entry["crc32"] and 0 <= first <= last <= len(data)
            ):
                found[name] = first, last
            case _:
                raise ArtifactError(f"tensor {name!r:.60} does not lie in the file")
    return data, found
