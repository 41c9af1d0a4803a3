"""The safetensors container: header layout, strict checks, reading and writing of raw arrays.

A file is an 8-byte little-endian header length, a JSON header and one data section. Every claim
of the header is checked against the file's size before any tensor is allocated. Nothing here
knows of `Tensor`; bfloat16 travels as its bits in uint16.
Source: the format's description in the `safetensors` project's README.
"""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_HEADER_BYTES = 100_000_000  # the reference reader's limit
MAX_RANK = 8
MAX_DIGITS = 100
CHECKSUM_KEY = "annx.crc32"

# Format tag -> NumPy dtype of the stored bytes.
STORAGE: dict[str, str] = {
    "F32": "<f4",
    "F64": "<f8",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "|u1",
    "BOOL": "|b1",
}
_FIELDS = ("dtype", "shape", "data_offsets")
_HEADER_DEPTH = 3  # header object, tensor object, shape list
_MAX_INT64 = 2**63 - 1
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlist = _REPR.maxother = 40
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


class Entry(NamedTuple):
    """One tensor of the header: format tag, shape and byte range in the data section."""

    tag: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """A checked header: tensors in the order they were written, and the free metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


def _short(value: object) -> str:
    # Cut before it is turned into text: a hostile header can hold millions of items.
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:77]}..."
    return _REPR.repr(value)


def fail(source: str, expected: str, got: object, tensor: str | None = None) -> NoReturn:
    """Raises the one error of this module: ValueError naming the file and the tensor."""
    where = (
        f"file {source!r}" if tensor is None else f"tensor {_REPR.repr(tensor)}, file {source!r}"
    )
    raise ValueError(f"[safetensors] expected {expected} but got {_short(got)} ({where})")


def _check_nesting(text: bytes, depth: int, what: str, source: str) -> None:
    # Brackets outside of strings become +1 and -1; their running sum is the depth. This comes
    # before the parser, whose recursion would otherwise be as deep as the file says.
    plain = b"".join(text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    steps = _STEP[np.frombuffer(plain, np.uint8)]
    deepest = int(np.cumsum(steps, dtype=np.int32).max(initial=0))
    if deepest > depth:
        fail(source, f"{what} nested at most {depth} deep", deepest)


def parse_json(text: bytes, depth: int, what: str, source: str) -> Any:
    """Parses JSON from an untrusted file.

    Raises ValueError for deep nesting, repeated keys, NaN and infinities, numbers of more than
    100 digits, lone surrogates and whatever else is not JSON in UTF-8.
    """
    _check_nesting(text, depth, what, source)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    fail(source, f"each key once in the {what}", f"{_REPR.repr(key)} twice")
                seen.add(key)
        return table

    def whole(digits: str) -> int:
        if len(digits.lstrip("-")) > MAX_DIGITS:
            fail(source, f"numbers of at most {MAX_DIGITS} digits in the {what}", digits)
        return int(digits)

    def constant(name: str) -> NoReturn:
        fail(source, f"plain JSON in the {what}", name)

    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=whole,
            parse_constant=constant,
        )
        # Only an escape can stand for half a character, which no file could hold again.
        if rb"\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except UnicodeEncodeError:
        fail(source, f"whole characters in the {what}", "a lone surrogate")
    except UnicodeDecodeError as error:
        fail(source, f"the {what} to be UTF-8", f"byte {error.start} that is not")
    except json.JSONDecodeError as error:
        fail(source, f"the {what} to be JSON", f"{error.msg} at character {error.pos}")


def _check_metadata(metadata: object, source: str) -> dict[str, str]:
    if not isinstance(metadata, dict):
        fail(source, "__metadata__ to be an object of strings", type(metadata).__name__)
    for key, value in metadata.items():
        if not isinstance(value, str):
            fail(source, f"__metadata__ value of {_REPR.repr(key)} to be a string", value)
    return metadata


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT64


def _check_entry(name: str, fields: object, data_size: int, source: str) -> Entry:
    if not isinstance(fields, dict) or sorted(fields) != sorted(_FIELDS):
        got = sorted(fields) if isinstance(fields, dict) else fields
        fail(source, "an object of dtype, shape and data_offsets", got, name)
    tag, shape, offsets = (fields[field] for field in _FIELDS)
    if not isinstance(tag, str) or tag not in STORAGE:
        fail(source, f"dtype to be one of {', '.join(STORAGE)}", tag, name)
    if not isinstance(shape, list) or not all(_is_size(size) for size in shape):
        fail(source, "shape to be a list of whole numbers >= 0", shape, name)
    if len(shape) > MAX_RANK:
        fail(source, f"at most {MAX_RANK} dimensions", len(shape), name)
    itemsize = np.dtype(STORAGE[tag]).itemsize
    # Zero sizes are left out, so that an empty tensor cannot hide an overflowing shape.
    if math.prod(size for size in shape if size) * itemsize > _MAX_INT64:
        fail(source, "a shape that fits 64 bits", shape, name)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        fail(source, "data_offsets to be two whole numbers >= 0", offsets, name)
    begin, end = offsets
    if not begin <= end <= data_size:
        fail(source, f"data_offsets ascending within {data_size} bytes of data", offsets, name)
    needed = math.prod(shape) * itemsize
    if end - begin != needed:
        fail(source, f"{needed} bytes for {tag} {shape}", f"{end - begin} bytes", name)
    return Entry(tag, tuple(shape), begin, end)


def in_file_order(entries: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """The tensors by their place in the data section."""
    return sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))


def parse_header(header: bytes, data_size: int, source: str) -> Header:
    """Checks a JSON header against the size of its data section.

    Raises ValueError for anything but a well-formed header whose tensors cover the data section
    exactly, without holes or overlaps.
    """
    if header[:1] != b"{":
        fail(source, "the header to start with '{'", header[:1])
    table = parse_json(header, _HEADER_DEPTH, "header", source)
    metadata = _check_metadata(table.pop("__metadata__", {}), source)
    entries = {
        name: _check_entry(name, fields, data_size, source) for name, fields in table.items()
    }
    end = 0
    for name, entry in in_file_order(entries):
        if entry.begin != end:
            fail(source, f"data to continue at byte {end}", f"byte {entry.begin}", name)
        end = entry.end
    if end != data_size:
        fail(source, f"{end} bytes of data", f"{data_size} bytes")
    return Header(entries, metadata)


def read_header(stream: BinaryIO, size: int, source: str) -> Header:
    """Reads and checks the header of a file of `size` bytes; leaves the stream at the data."""
    if size < 8:
        fail(source, "at least 8 bytes", f"{size} bytes")
    length = int.from_bytes(_exactly(stream, 8, source), "little")
    if length > MAX_HEADER_BYTES:
        fail(source, f"a header of at most {MAX_HEADER_BYTES} bytes", f"{length} bytes")
    if length > size - 8:
        fail(source, f"a header of {length} bytes", f"{size - 8} bytes left in the file")
    return parse_header(_exactly(stream, length, source), size - 8 - length, source)


def _exactly(stream: BinaryIO, count: int, source: str) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        fail(source, f"{count} more bytes", f"{len(data)} bytes")
    return data


def read_arrays(stream: BinaryIO, header: Header, source: str) -> dict[str, Array]:
    """Reads every tensor straight into an array of its own and verifies the checksum, if any."""
    arrays: dict[str, Array] = {}
    checksum = 0
    for name, entry in in_file_order(header.entries):
        array = np.empty(entry.shape, STORAGE[entry.tag])
        raw = array.reshape(-1).view(np.uint8)
        view = raw.data
        while view:
            count = stream.readinto(view)  # type: ignore[attr-defined]
            if not count:
                fail(source, f"{len(raw)} bytes of data", f"{len(raw) - len(view)} bytes", name)
            view = view[count:]
        checksum = zlib.crc32(raw.data, checksum)
        # A bool is one byte of 0 or 1; any other byte is undefined behaviour further down.
        if entry.tag == "BOOL" and raw.size and int(raw.max()) > 1:
            fail(source, "bool values of 0 or 1", f"byte {int(raw.max())}", name)
        arrays[name] = array
    stored = header.metadata.get(CHECKSUM_KEY)
    if stored is not None and stored != f"{checksum:08x}":
        fail(source, f"data with CRC-32 {stored}", f"{checksum:08x}: the file is damaged")
    return {name: arrays[name] for name in header.entries}


def encode(
    arrays: Mapping[str, tuple[str, Array]], metadata: Mapping[str, str], source: str
) -> Iterator[memoryview]:
    """Lays out a file of (format tag, C-contiguous array) pairs; yields it in pieces, uncopied.

    Wider dtypes come first in the data section, so that every tensor is aligned to its own size;
    the header keeps the order given and is padded so that the data starts at a multiple of 8.

    Raises ValueError for text that is not UTF-8 and for a header above the format's limit.
    """
    placed = sorted(arrays, key=lambda name: -arrays[name][1].itemsize)
    pieces = [arrays[name][1].reshape(-1).view(np.uint8).data for name in placed]
    entries: dict[str, Any] = {}
    offset = checksum = 0
    for name, piece in zip(placed, pieces, strict=True):
        tag, array = arrays[name]
        entries[name] = {
            "dtype": tag,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(piece)],
        }
        offset += len(piece)
        checksum = zlib.crc32(piece, checksum)
    table = {
        "__metadata__": {**metadata, CHECKSUM_KEY: f"{checksum:08x}"},
        **{name: entries[name] for name in arrays},
    }
    try:
        header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        fail(source, "whole characters in names and text", repr(error.object[error.start]))
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES:
        fail(source, f"a header of at most {MAX_HEADER_BYTES} bytes", f"{len(header)} bytes")
    yield memoryview(len(header).to_bytes(8, "little"))
    yield memoryview(header)
    yield from pieces
