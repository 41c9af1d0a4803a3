"""Saving and loading: safetensors files, written atomically and checked when read; no pickle."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from annx import _core
from annx import _safetensors as _format
from annx._core import Tensor

if TYPE_CHECKING:
    from annx.nn import Module

__all__ = ["load", "load_metadata", "load_state", "save", "save_state"]

PathLike = str | os.PathLike[str]

_TAGS = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
    "bool": "BOOL",
}
_STRUCTURE_KEY = "annx.structure"
_STRUCTURE_VERSION = 1
_MAX_DEPTH = 64  # of containers in one saved object


def save(obj: Any, path: PathLike, *, metadata: Mapping[str, str] | None = None) -> None:
    """Saves a tensor, or dicts, lists and tuples of tensors and JSON scalars, as safetensors.

    A flat dict of name -> Tensor becomes a plain safetensors file, readable by any other reader.
    Other structures, such as `optimizer.state_dict()`, are described in the file's metadata.
    Views are stored by value; named tuples come back as tuples and every mapping as a dict.

    The file appears under its name only when it is complete and on disk: it is written to a
    temporary file beside it, synced and renamed. On failure nothing is left behind.

    Args:
        obj: what to save. Dict keys are strings or ints.
        path: file name; any suffix.
        metadata: further strings to store, for `load_metadata`.

    Raises:
        TypeError: something in `obj` is neither a tensor, a container nor a JSON scalar.
        ValueError: containers nested more than 64 deep.
        OSError: the file cannot be written.
    """
    extra = dict(metadata or {})
    for key, value in extra.items():
        if not isinstance(key, str) or not isinstance(value, str) or key.startswith("annx."):
            raise TypeError(
                "[save] expected metadata of strings, with keys not starting 'annx.', "
                f"but got {key!r}: {value!r}"
            )
    if _is_flat(obj):
        tensors = dict(obj)
    else:
        tensors = {}
        root = _describe(obj, (), tensors)
        structure = {"version": _STRUCTURE_VERSION, "root": root}
        extra[_STRUCTURE_KEY] = json.dumps(
            structure, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    arrays = {name: (_tag(tensor), _to_array(tensor)) for name, tensor in tensors.items()}
    _write_atomically(path, _format.encode(arrays, extra, os.fspath(path)))


def load(path: PathLike) -> Any:
    """Loads what `save` wrote, or any safetensors file as a dict of name -> Tensor.

    Tensors come back on the CPU. The file is checked whole: sizes and layout before anything is
    allocated, then the checksum if the file has one. Loading runs no code from the file.

    Raises:
        ValueError: the file is not well-formed safetensors, damaged, or holds a dtype that annx
            does not have.
        OSError: the file cannot be read; FileNotFoundError when there is none.
    """
    source = os.fspath(path)
    with _open(source) as (stream, size):
        return _load_stream(stream, size, source)


def load_metadata(path: PathLike) -> dict[str, str]:
    """Reads only the metadata strings of a safetensors file; raises as `load` does."""
    source = os.fspath(path)
    with _open(source) as (stream, size):
        metadata = _format.read_header(stream, size, source).metadata
    return {key: value for key, value in metadata.items() if not key.startswith("annx.")}


def save_state(module: Module, path: PathLike) -> None:
    """Saves `module.state_dict()`; raises as `save` does."""
    save(module.state_dict(), path)


def load_state(module: Module, path: PathLike, strict: bool = True) -> Any:
    """Loads a state dict file into `module`; returns what `module.load_state_dict` returns.

    Raises:
        ValueError: the file is damaged or does not hold a flat dict of tensors.
        RuntimeError: keys or shapes do not match, as `module.load_state_dict` says.
    """
    state = load(path)
    if not isinstance(state, dict):
        raise ValueError(
            f"[load_state] expected a dict of tensors but got {type(state).__name__} "
            f"(file {os.fspath(path)!r})"
        )
    return module.load_state_dict(state, strict=strict)


def _load_stream(stream: BinaryIO, size: int, source: str) -> Any:
    header = _format.read_header(stream, size, source)
    arrays = _format.read_arrays(stream, header, source)
    tensors = {name: _to_tensor(array, header.entries[name].tag) for name, array in arrays.items()}
    structure = header.metadata.get(_STRUCTURE_KEY)
    return tensors if structure is None else _rebuild(structure, tensors, source)


# Structure: containers and scalars as JSON, tensors by name.


def _is_flat(obj: Any) -> bool:
    return isinstance(obj, Mapping) and all(
        isinstance(key, str) and key != "__metadata__" and isinstance(value, Tensor)
        for key, value in obj.items()
    )


def _place(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path) or "the object itself"


def _describe(obj: Any, path: tuple[Any, ...], tensors: dict[str, Tensor]) -> Any:
    """Returns the JSON node of `obj` and adds its tensors to `tensors` under new names."""
    if obj is None or isinstance(obj, (bool, str)):
        return obj
    if isinstance(obj, int):
        if abs(obj) >= 10**_format.MAX_DIGITS:
            raise ValueError(
                f"[save] expected ints of at most {_format.MAX_DIGITS} digits but got a longer "
                f"one at {_place(path)}"
            )
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else {"float": repr(float(obj))}
    if isinstance(obj, Tensor):
        stem = ".".join(str(key) for key in path) or "tensor"
        name, count = stem, 1
        while name in tensors or name == "__metadata__":
            count += 1
            name = f"{stem}#{count}"
        tensors[name] = obj
        return {"tensor": name}
    if len(path) >= _MAX_DEPTH:
        raise ValueError(
            f"[save] expected containers nested at most {_MAX_DEPTH} deep but got more"
        )
    if isinstance(obj, Mapping):
        pairs = []
        for key, value in obj.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise TypeError(
                    f"[save] expected str or int keys but got {key!r} in {_place(path)}"
                )
            pairs.append([key, _describe(value, (*path, key), tensors)])
        return {"dict": pairs}
    if isinstance(obj, (list, tuple)):
        nodes = [_describe(value, (*path, index), tensors) for index, value in enumerate(obj)]
        return {"list" if isinstance(obj, list) else "tuple": nodes}
    hint = "; use annx.save(module.state_dict(), path)" if hasattr(obj, "state_dict") else ""
    raise TypeError(
        "[save] expected Tensor, dict, list, tuple, str, int, float, bool or None but got "
        f"{type(obj).__module__}.{type(obj).__qualname__} at {_place(path)}{hint}"
    )


def _rebuild(text: str, tensors: dict[str, Tensor], source: str) -> Any:
    """Puts the structure back together; every tensor of the file is used exactly once."""
    # A container level is at most three brackets: {"dict":[[key,node],...]}.
    depth = 3 * _MAX_DEPTH + 4
    table = _format.parse_json(text.encode("utf-8"), depth, _STRUCTURE_KEY, source)
    version = table.get("version") if isinstance(table, dict) else None
    if version != _STRUCTURE_VERSION or "root" not in table:
        _format.fail(source, f"{_STRUCTURE_KEY} of version {_STRUCTURE_VERSION}", version)
    left = dict(tensors)
    result = _node(table["root"], left, source, _MAX_DEPTH)
    if left:
        _format.fail(source, f"{_STRUCTURE_KEY} to place every tensor", "none", next(iter(left)))
    return result


def _node(node: Any, tensors: dict[str, Tensor], source: str, depth: int) -> Any:
    if not isinstance(node, (dict, list)):
        return node
    if isinstance(node, dict) and len(node) == 1:
        ((kind, body),) = node.items()
        if kind == "tensor" and isinstance(body, str):
            if body not in tensors:
                _format.fail(source, f"{_STRUCTURE_KEY} to name each tensor once", "another", body)
            return tensors.pop(body)
        if kind == "float" and body in ("nan", "inf", "-inf"):
            return float(body)
        if isinstance(body, list) and depth == 0:
            _format.fail(source, f"{_STRUCTURE_KEY} nested at most {_MAX_DEPTH} deep", "more")
        if kind in ("list", "tuple") and isinstance(body, list):
            items = [_node(item, tensors, source, depth - 1) for item in body]
            return items if kind == "list" else tuple(items)
        if kind == "dict" and isinstance(body, list) and all(map(_is_pair, body)):
            table = {key: _node(value, tensors, source, depth - 1) for key, value in body}
            if len(table) != len(body):
                _format.fail(source, f"each key once in a dict of {_STRUCTURE_KEY}", "one twice")
            return table
    _format.fail(source, f"a known node in {_STRUCTURE_KEY}", node)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int)


# Tensors and raw arrays.


def _tag(tensor: Tensor) -> str:
    return _TAGS[str(tensor.dtype).removeprefix("annx.")]


def _to_array(tensor: Tensor) -> _format.Array:
    tensor = tensor.detach().to("cpu").contiguous()
    if _tag(tensor) == "BF16":
        # NumPy has no bfloat16: its bits are the upper half of the same float32.
        bits = tensor.float().numpy().view(np.uint32)
        return (bits >> np.uint32(16)).astype(np.uint16)
    return tensor.numpy()


def _to_tensor(array: _format.Array, tag: str) -> Tensor:
    if tag == "BF16":
        wide = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return _core.from_buffer(wide, copy=False).to("bfloat16")
    return _core.from_buffer(array, copy=False)


# Files.


@contextlib.contextmanager
def _open(source: str) -> Iterator[tuple[BinaryIO, int]]:
    """Opens a regular file for reading; gives the stream and the file's size."""
    # Asked before opening: opening a pipe would wait for a writer.
    if not os.path.isdir(source) and not stat.S_ISREG(os.stat(source).st_mode):
        _format.fail(source, "a regular file", "a device or pipe")
    with open(source, "rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size


def _write_atomically(path: PathLike, pieces: Iterable[memoryview]) -> None:
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "[save] expected an existing folder", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "[save] expected a file name", target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "[save] expected a regular file", target)
    temporary = os.path.join(folder, f".annx-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    # O_EXCL never follows a link planted under this name; mode 0o666 is cut by the umask.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the file itself is on disk.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
