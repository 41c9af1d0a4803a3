"""Files: round trips, the format itself, damage, atomic writes, the digits."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import random
import stat
import struct
import subprocess
import sys
from typing import Any

import annx
import numpy as np
import pytest
from annx import _safetensors, nn
from annx.datasets import load_digits
from hypothesis import given
from hypothesis import strategies as st

DATA = pathlib.Path(__file__).parent / "data"

DTYPES = [
    annx.float32,
    annx.float64,
    annx.float16,
    annx.bfloat16,
    annx.int64,
    annx.int32,
    annx.uint8,
    annx.bool_,
]


def sample(dtype: Any, shape: tuple[int, ...]) -> annx.Tensor:
    rng = np.random.RandomState(3)
    return annx.tensor(rng.randint(0, 2, shape) * rng.randint(1, 100, shape)).to(dtype)


def bits(tensor: annx.Tensor) -> bytes:
    wide = tensor.float() if tensor.dtype == annx.bfloat16 else tensor
    return bytes(np.ascontiguousarray(wide.numpy()).tobytes())


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, annx.Tensor):
        assert (a.dtype, tuple(a.shape), bits(a)) == (b.dtype, tuple(b.shape), bits(b))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b)
    else:
        assert a == b


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, given as bytes or as an object to be written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (2, 3, 5)], ids=str)
def test_every_dtype_and_shape_comes_back(
    tmp_path: pathlib.Path, dtype: Any, shape: tuple[int, ...]
) -> None:
    state = {"a": sample(dtype, shape), "b": sample(annx.uint8, (3,)), "c": sample(dtype, (1,))}
    annx.save(state, tmp_path / "file")
    assert_same(annx.load(tmp_path / "file"), state)


@pytest.mark.parametrize(
    "dtype", [annx.float32, annx.float64, annx.float16, annx.bfloat16], ids=str
)
def test_special_values_keep_their_bits(tmp_path: pathlib.Path, dtype: Any) -> None:
    values = [0.0, -0.0, math.inf, -math.inf, 1e-40, 65504.0, -1.5]
    state = {"x": annx.tensor(values, dtype=annx.float64).to(dtype)}
    annx.save(state, tmp_path / "file")
    assert_same(annx.load(tmp_path / "file"), state)
    annx.save({"x": annx.tensor([math.nan]).to(dtype)}, tmp_path / "file")
    assert math.isnan(annx.load(tmp_path / "file")["x"].float().item())


def test_views_are_saved_by_value(tmp_path: pathlib.Path) -> None:
    base = annx.arange(24).reshape(4, 6)
    state = {"t": base.T, "slice": base[1:3, ::2], "wide": base[:1].expand(5, 6)}
    annx.save(state, tmp_path / "file")
    loaded = annx.load(tmp_path / "file")
    for name, view in state.items():
        assert loaded[name].tolist() == view.tolist()
    # Only the elements of the view go into the file, not the storage behind it.
    annx.save({"row": annx.zeros(1000, 1000)[0]}, tmp_path / "file")
    assert os.path.getsize(tmp_path / "file") < 5000


def test_structures_come_back(tmp_path: pathlib.Path) -> None:
    tensor = annx.arange(3)
    value = {
        "state": {0: {"step": 3, "avg": annx.ones(2, 2)}, 1: {"step": 4, "avg": annx.zeros(2)}},
        "groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "name": None, "on": True, "params": [0, 1]}],
        "extra": [(), [], {}, 'text \u00e9 \U0001f600 " [{', 2**80, -0.0, math.inf, -math.inf],
        "nan": math.nan,
        "same": [tensor, tensor],
        "a.b": tensor,
        "a": {"b": annx.ones(1)},
        "__metadata__": annx.ones(1),
    }
    annx.save(value, tmp_path / "file")
    assert_same(annx.load(tmp_path / "file"), value)
    for small in (tensor, [tensor], (), {}, 5, None, {"__metadata__": tensor}):
        annx.save(small, tmp_path / "file")
        assert_same(annx.load(tmp_path / "file"), small)


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.builds(lambda n: annx.arange(n), st.integers(0, 5)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_structure_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "tree"
    annx.save(value, path)
    assert_same(annx.load(path), value)


def test_depth_is_limited_on_both_sides(tmp_path: pathlib.Path) -> None:
    value: Any = 1
    for level in range(64):
        value = [value] if level % 2 else {"k": value}
    annx.save(value, tmp_path / "file")
    assert_same(annx.load(tmp_path / "file"), value)
    with pytest.raises(ValueError, match=r"\[save\] expected containers nested at most 64 deep"):
        annx.save([value], tmp_path / "file")
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="nested at most 64 deep"):
        annx.save(cycle, tmp_path / "file")


def test_metadata(tmp_path: pathlib.Path) -> None:
    annx.save({"x": annx.ones(2)}, tmp_path / "file", metadata={"format": "pt", "note": "\u00fc"})
    assert annx.io.load_metadata(tmp_path / "file") == {"format": "pt", "note": "\u00fc"}
    for bad in ({"annx.crc32": "0"}, {"a": 1}, {1: "a"}):
        with pytest.raises(TypeError, match=r"\[save\] expected metadata of strings"):
            annx.save({}, tmp_path / "file", metadata=bad)  # type: ignore[arg-type]


def test_layout_follows_the_format(tmp_path: pathlib.Path) -> None:
    state = {
        "flags": annx.tensor([True, False, True]),
        "w": annx.ones(3),
        "d": annx.ones(1, dtype=annx.float64),
    }
    annx.save(state, tmp_path / "file")
    raw = (tmp_path / "file").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    assert raw[8:9] == b"{"
    assert list(header) == ["__metadata__", "flags", "w", "d"]
    assert header["d"] == entry("F64", [1], [0, 8])
    assert header["w"] == entry("F32", [3], [8, 20])
    assert header["flags"] == entry("BOOL", [3], [20, 23])
    assert len(raw) == 8 + length + 23


def test_reads_the_golden_file() -> None:
    """Written by the first release; every later one must read it."""
    loaded = annx.load(DATA / "golden.safetensors")
    assert list(loaded) == ["model", "optimizer", "epoch", "best"]
    assert loaded["epoch"] == 3
    assert loaded["best"] == -math.inf
    assert loaded["optimizer"] == {"step": 7, "betas": (0.9, 0.999), "names": ["w", "b"]}
    model = loaded["model"]
    assert sorted(model) == sorted(str(dtype).removeprefix("annx.") for dtype in DTYPES)
    for dtype in DTYPES:
        tensor = model[str(dtype).removeprefix("annx.")]
        assert tensor.dtype == dtype
        assert tensor.float().tolist() == [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]


def test_reads_files_of_the_reference_implementation() -> None:
    """Made by tools/make_golden_files.py with the safetensors package."""
    loaded = annx.load(DATA / "reference.safetensors")
    assert {name: (str(t.dtype), tuple(t.shape)) for name, t in loaded.items()} == {
        "bf16": ("annx.bfloat16", (3,)),
        "bool": ("annx.bool", (2,)),
        "empty": ("annx.float32", (0, 4)),
        "f16": ("annx.float16", (2, 2)),
        "f32": ("annx.float32", (2, 3)),
        "f64": ("annx.float64", ()),
        "i32": ("annx.int32", (4,)),
        "i64": ("annx.int64", (2,)),
        "u8": ("annx.uint8", (3,)),
    }
    assert loaded["f32"].tolist() == [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]]
    assert loaded["bf16"].float().tolist() == [1.0, -2.5, 3.140625]
    assert loaded["i64"].tolist() == [-(2**62), 2**62]
    assert annx.io.load_metadata(DATA / "reference.safetensors") == {"made": "by safetensors"}


GOOD = container({"w": entry()}, struct.pack("<2f", 1, 2))
PAIR = struct.pack("<2f", 1, 2)

HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "at least 8 bytes but got 0"),
    "no header": (b"\x02\x00\x00", "at least 8 bytes but got 3"),
    "header longer than file": (container({}, length=100), "header of 100 bytes but got 2"),
    "header of 2^63": (container({}, length=2**63), "at most 100000000 bytes"),
    "header of 2^64-1": (container({}, length=2**64 - 1), "at most 100000000 bytes"),
    "header of 0": (container(b""), "start with '{'"),
    "not an object": (container([]), "start with '{'"),
    "space first": (container(b" {}"), "start with '{'"),
    "byte order mark": (container(b"\xef\xbb\xbf{}"), "start with '{'"),
    "not UTF-8": (container(b'{"\xff":1}'), "to be UTF-8 but got byte 2"),
    "not JSON": (container(b"{nope}"), "to be JSON but got"),
    "cut JSON": (container(b'{"w":{"dtype":"F32"'), "to be JSON but got"),
    "two objects": (container(b"{}{}"), "to be JSON but got"),
    "NaN": (container(b'{"w":NaN}'), "plain JSON in the header but got NaN"),
    "Infinity": (container(b'{"w":-Infinity}'), "plain JSON in the header but got -Infinity"),
    "long number": (container(b'{"w":' + b"9" * 5000 + b"}"), "at most 100 digits"),
    "lone surrogate": (
        container(b'{"\\ud800":' + json.dumps(entry()).encode() + b"}", PAIR),
        "lone surrogate",
    ),
    "deep lists": (container(b'{"w":' + b"[" * 10**6), "nested at most 3 deep"),
    "deep objects": (container(b'{"w":' * 10**5 + b"1" + b"}" * 10**5), "nested at most 3 deep"),
    "repeated name": (container(b'{"w":{},"w":{}}'), "each key once in the header but got 'w'"),
    "repeated field": (container(b'{"w":{"dtype":"F32","dtype":"F32"}}'), "each key once"),
    "metadata is a list": (container({"__metadata__": []}), "__metadata__ to be an object"),
    "metadata holds an int": (container({"__metadata__": {"a": 1}}), "'a' to be a string"),
    "entry is a number": (container({"w": 1}), "an object of dtype, shape and data_offsets"),
    "field missing": (container({"w": {"dtype": "F32", "shape": []}}), "an object of dtype"),
    "field too many": (container({"w": {**entry(), "x": 1}}, PAIR), "an object of dtype"),
    "unknown dtype": (container({"w": entry("F8_E4M3")}, PAIR), "dtype to be one of F32, F64"),
    "dtype is a list": (container({"w": entry(["F32"])}, PAIR), "dtype to be one of"),
    "shape is a number": (container({"w": entry(shape=2)}, PAIR), "shape to be a list"),
    "negative size": (container({"w": entry(shape=[-2])}, PAIR), "shape to be a list"),
    "size is a float": (container({"w": entry(shape=[2.0])}, PAIR), "shape to be a list"),
    "size is a bool": (container({"w": entry(shape=[2, True])}, PAIR), "shape to be a list"),
    "size is null": (container({"w": entry(shape=[None])}, PAIR), "shape to be a list"),
    "nine dimensions": (container({"w": entry(shape=[2] + [1] * 8)}, PAIR), "at most 8 dim"),
    "shape overflows": (container({"w": entry(shape=[2**62, 4, 2])}, PAIR), "fits 64 bits"),
    "shape wraps to fit": (container({"w": entry(shape=[2**32, 2**32, 2])}, PAIR), "fits 64 bits"),
    "empty, overflows": (container({"w": entry(shape=[0, 2**62, 9], offsets=[0, 0])}), "64 bits"),
    "offsets is one": (container({"w": entry(offsets=[0])}, PAIR), "two whole numbers"),
    "offset is a bool": (container({"w": entry(offsets=[False, 8])}, PAIR), "two whole numbers"),
    "offset negative": (container({"w": entry(offsets=[-8, 0])}, PAIR), "two whole numbers"),
    "offsets descend": (container({"w": entry(offsets=[8, 0])}, PAIR), "ascending within 8 bytes"),
    "offset past the end": (container({"w": entry(offsets=[8, 16])}, PAIR), "within 8 bytes"),
    "size does not match": (container({"w": entry(shape=[3])}, PAIR), "12 bytes for F32"),
    "hole before": (container({"w": entry(offsets=[8, 16])}, PAIR * 2), "continue at byte 0"),
    "hole between": (
        container({"a": entry(), "b": entry(offsets=[16, 24])}, PAIR * 3),
        "continue at byte 8 but got byte 16",
    ),
    "overlap": (
        container({"a": entry(), "b": entry(offsets=[4, 12])}, PAIR + b"\0\0\0\0"),
        "continue at byte 8 but got byte 4",
    ),
    "data left over": (GOOD + b"\0", "8 bytes of data but got 9"),
    "data cut": (GOOD[:-1], "within 7 bytes"),
    "data without tensors": (container({}, b"\0"), "0 bytes of data but got 1"),
    "bool of 2": (container({"w": entry("BOOL", [2], [0, 2])}, b"\1\2"), "0 or 1 but got byte 2"),
    "wrong checksum": (
        container({"__metadata__": {"annx.crc32": "00000000"}, "w": entry()}, PAIR),
        "data with CRC-32 00000000",
    ),
}
for label, structure in {
    "structure is not JSON": "{",
    "structure is deep": "[" * 100000,
    "structure of another version": '{"version":2,"root":null}',
    "structure without root": '{"version":1}',
    "structure is a list": "[]",
    "structure drops a tensor": '{"version":1,"root":null}',
    "structure uses a tensor twice": (
        '{"version":1,"root":{"list":[{"tensor":"w"},{"tensor":"w"}]}}'
    ),
    "structure is a little too deep": (
        '{"version":1,"root":' + '{"list":[' * 65 + '{"tensor":"w"}' + "]}" * 65 + "}"
    ),
    "structure names no tensor": '{"version":1,"root":{"tensor":"v"}}',
    "structure has a bare list": '{"version":1,"root":[1]}',
    "structure has an unknown node": '{"version":1,"root":{"object":"os.system"}}',
    "structure has a list as key": '{"version":1,"root":{"dict":[[[1],2]]}}',
    "structure has a bool as key": '{"version":1,"root":{"dict":[[true,2]]}}',
    "structure repeats a key": '{"version":1,"root":{"dict":[["k",{"tensor":"w"}],["k",2]]}}',
}.items():
    HOSTILE[label] = (
        container({"__metadata__": {"annx.structure": structure}, "w": entry()}, PAIR),
        "annx.structure",
    )


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_errors(tmp_path: pathlib.Path, label: str) -> None:
    raw, message = HOSTILE[label]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=rf"^\[safetensors\] expected .*({message})") as error:
        annx.load(path)
    assert "hostile.safetensors" in str(error.value)
    assert len(str(error.value)) < 400


def test_every_truncation_and_every_flipped_bit_of_data(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    annx.save({"w": annx.randn(3), "flags": annx.tensor([True, False])}, path)
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        with pytest.raises(ValueError, match=r"\[safetensors\] expected"):
            annx.load(path)
    start = 8 + int.from_bytes(raw[:8], "little")
    for bit in range(8 * (len(raw) - start)):
        damaged = bytearray(raw)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"CRC-32|0 or 1"):
            annx.load(path)


def test_mutated_files_never_crash(tmp_path: pathlib.Path) -> None:
    seeds = [raw for raw, _ in HOSTILE.values() if len(raw) < 2000] + [GOOD]
    for source in ("golden.safetensors", "reference.safetensors"):
        seeds.append((DATA / source).read_bytes())
    rng = random.Random(0)
    path = tmp_path / "file"
    tokens = [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"-1", b"1e999", b"0", b"F64"]
    loaded = 0
    for _ in range(3000):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw) + 1)
            raw[at : at + rng.randint(0, 3)] = rng.choice([*tokens, rng.randbytes(2)])
        path.write_bytes(raw)
        try:
            annx.load(path)
            loaded += 1
        except ValueError as error:
            if not str(error).startswith("[safetensors] expected"):
                raise
    assert loaded < 1500


def test_no_code_runs_when_loading() -> None:
    """Python's own audit events tell of every import, compilation and unpickling."""
    program = (
        "import pathlib, sys, annx\n"
        "annx.load(sys.argv[1])\n"
        "events = []\n"
        "watched = ('import', 'compile', 'exec', 'marshal', 'pickle', 'os', 'subprocess')\n"
        "def hook(event, arguments):\n"
        "    if event.split('.')[0] in watched:\n"
        "        events.append((event, arguments))\n"
        "sys.addaudithook(hook)\n"
        "for path in sys.argv[1:]:\n"
        "    annx.load(path)\n"
        "print(events)\n"
    )
    files = [str(path) for path in sorted(DATA.glob("*.safetensors"))]
    done = subprocess.run(
        [sys.executable, "-c", program, *files], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_text_that_is_no_unicode_is_refused(tmp_path: pathlib.Path) -> None:
    for value in ({"\ud800": annx.ones(1)}, ["\ud800"]):
        with pytest.raises(ValueError, match=r"whole characters in names and text but got '.ud800"):
            annx.save(value, tmp_path / "file")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    annx.save({"x": annx.ones(2)}, path)
    before = path.read_bytes()

    def broken(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    if call == "write":
        encode = _safetensors.encode

        def half(*arguments: Any) -> Any:
            yield next(iter(encode(*arguments)))
            broken()

        monkeypatch.setattr(_safetensors, "encode", half)
    else:
        monkeypatch.setattr(os, call, broken)
    with pytest.raises(OSError, match="No space left"):
        annx.save({"x": annx.zeros(2)}, path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == before


def test_a_full_disk_leaves_nothing(tmp_path: pathlib.Path) -> None:
    """A real one: the process may not write files above 64 KiB."""
    program = (
        "import resource, signal, sys, annx\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n"
        "    annx.save({'x': annx.zeros(100000)}, sys.argv[1])\n"
        "except OSError as error:\n"
        "    print('OSError', error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("OSError")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_respect_the_umask(tmp_path: pathlib.Path, mask: int) -> None:
    previous = os.umask(mask)
    try:
        annx.save({}, tmp_path / "file")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == 0o666 & ~mask


def test_paths(tmp_path: pathlib.Path) -> None:
    state = {"x": annx.ones(2)}
    annx.save(state, str(tmp_path / "no suffix \u00e9"))
    assert_same(annx.load(tmp_path / "no suffix \u00e9"), state)
    annx.save(state, tmp_path / ("n" * 255))
    (tmp_path / "link").symlink_to(tmp_path / "target")
    annx.save(state, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").is_file()
    with pytest.raises(FileNotFoundError):
        annx.load(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="expected an existing folder"):
        annx.save(state, tmp_path / "missing" / "file")
    with pytest.raises(IsADirectoryError):
        annx.load(tmp_path)
    with pytest.raises(IsADirectoryError):
        annx.save(state, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a regular file but got a device or pipe"):
        annx.load(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file"):
        annx.save(state, tmp_path / "pipe")


def test_module_state(tmp_path: pathlib.Path) -> None:
    annx.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    x = annx.randn(5, 3)
    model(x).sum().backward()
    annx.io.save_state(model, tmp_path / "model")
    copy = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    annx.io.load_state(copy, tmp_path / "model")
    assert_same(dict(copy.state_dict()), dict(model.state_dict()))
    model.eval()
    copy.eval()
    assert bits(model(x).detach()) == bits(copy(x).detach())

    partial = model.state_dict()
    partial.pop("3.bias")
    annx.save(partial, tmp_path / "partial")
    with pytest.raises(RuntimeError, match=r'missing keys: "3\.bias"'):
        annx.io.load_state(copy, tmp_path / "partial")
    result = annx.io.load_state(copy, tmp_path / "partial", strict=False)
    assert result.missing_keys == ["3.bias"]
    annx.save([1, 2], tmp_path / "list")
    with pytest.raises(ValueError, match=r"\[load_state\] expected a dict of tensors"):
        annx.io.load_state(copy, tmp_path / "list")


def test_optimizer_state(tmp_path: pathlib.Path) -> None:
    """Training goes on to the bit from a file."""

    def step(model: nn.Module, optimizer: Any, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            (model(x) ** 2).mean().backward()
            optimizer.step()

    annx.manual_seed(0)
    x = annx.randn(8, 3)
    model = nn.Linear(3, 2)
    optimizer = annx.optim.Adam(model.parameters(), lr=0.01)
    step(model, optimizer, 3)
    checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    annx.save(checkpoint, tmp_path / "checkpoint")
    step(model, optimizer, 3)

    resumed = nn.Linear(3, 2)
    again = annx.optim.Adam(resumed.parameters(), lr=0.5)
    loaded = annx.load(tmp_path / "checkpoint")
    resumed.load_state_dict(loaded["model"])
    again.load_state_dict(loaded["optimizer"])
    step(resumed, again, 3)
    assert_same(dict(resumed.state_dict()), dict(model.state_dict()))


def test_digits() -> None:
    data, target = load_digits(return_X_y=True)
    assert data.shape == (1797, 64)
    assert data.dtype == np.float32
    assert target.shape == (1797,)
    assert target.dtype == np.int64
    assert (data.min(), data.max()) == (0, 16)
    # Of scikit-learn's arrays, both as uint8.
    digest = hashlib.sha256(data.astype(np.uint8).tobytes() + target.astype(np.uint8).tobytes())
    assert digest.hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    digits = load_digits(n_class=3)
    assert set(digits.target) == {0, 1, 2}
    assert digits.images.shape == (len(digits.data), 8, 8)
    with pytest.raises(ValueError, match=r"\[load_digits\] expected n_class from 1 to 10"):
        load_digits(n_class=0)
