"""Memory of a device: moves, fills, writes in place, accounting, errors, threads and forks."""

from __future__ import annotations

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import annx
import numpy as np
import pytest
from annx import _core, nn

if not annx.cuda.is_available():
    pytest.exit(f"no device: {_core.cuda_info()['reason']}", returncode=4)

DTYPES = "float32 float64 float16 bfloat16 int64 int32 uint8 bool".split()


def values(shape, dtype="float32"):
    return annx.tensor(np.random.default_rng(0).integers(0, 100, shape)).to(dtype)


def same(a: annx.Tensor, b: annx.Tensor) -> bool:
    return a.shape == b.shape and a.cpu().tolist() == b.cpu().tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (1023, 5), (2, 0, 3)])
def test_there_and_back(shape, dtype) -> None:
    x = values(shape, dtype)
    y = x.cuda()
    assert y.device == "cuda:0"
    assert y.is_cuda
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert same(y.cpu(), x)
    assert y.cpu().device == "cpu"
    assert y.cuda() is y


def test_large_moves() -> None:
    x = annx.rand(3_000_001)
    assert np.array_equal(x.cuda().cpu().numpy(), x.numpy())


def test_gradients_come_back_to_where_the_tensor_was() -> None:
    x = annx.tensor([1.0, 2.0], requires_grad=True)
    y = x.cuda() * 3
    y.backward(annx.tensor([1.0, 10.0]).cuda())
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [3.0, 30.0]


def test_scalar_backward_starts_on_the_device() -> None:
    x = annx.tensor(2.0, device="cuda", requires_grad=True)
    (x * x).backward()
    assert x.grad.device == "cuda:0"
    assert x.grad.item() == 4.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(), (1,), (5,), (1000,), (33, 7)])
def test_fills(size, dtype) -> None:
    for value in (0, 1, 7) if dtype != "bool" else (0, 1):
        x = annx.full(size, value, dtype=dtype, device="cuda")
        assert same(x, annx.full(size, value, dtype=dtype))
    assert same(annx.zeros_like(x), annx.zeros(size, dtype=dtype))
    assert annx.ones_like(x).device == "cuda:0"


def test_what_is_made_on_the_cpu_arrives() -> None:
    annx.manual_seed(3)
    a = [annx.rand(5, 3), annx.randn(7), annx.randint(0, 9, (4,)), annx.randperm(6)]
    annx.manual_seed(3)
    b = [
        annx.rand(5, 3, device="cuda"),
        annx.randn(7, device="cuda"),
        annx.randint(0, 9, (4,), device="cuda"),
        annx.randperm(6, device="cuda"),
    ]
    assert all(same(x, y) and y.is_cuda for x, y in zip(a, b, strict=True))
    assert same(annx.arange(5, device="cuda"), annx.arange(5))
    assert same(annx.eye(3, device="cuda"), annx.eye(3))


def test_writes_in_place() -> None:
    x = values((4, 6)).cuda()
    expected = x.cpu().numpy().copy()
    view = x[1:3, ::2]
    view.copy_(annx.full((2, 3), 5.0))
    expected[1:3, ::2] = 5.0
    assert x.tolist() == expected.tolist()
    x.transpose(0, 1).copy_(annx.arange(24).reshape(6, 4).cuda())
    assert x.tolist() == np.arange(24).reshape(6, 4).T.tolist()
    x.zero_()
    assert same(x, annx.zeros(4, 6))
    x.fill_(2.5)
    assert same(x, annx.full((4, 6), 2.5))


def test_reading_values() -> None:
    x = annx.tensor([[1.5, -2.0]], device="cuda")
    assert x.tolist() == [[1.5, -2.0]]
    assert x[0, 0].item() == 1.5
    assert float(x[0, 1]) == -2.0
    assert bool(x[0, 0] > 1)
    assert list(range(3))[annx.tensor(2, device="cuda")] == 2
    assert "device='cuda:0'" in repr(x)
    with pytest.raises(
        TypeError, match=r"\[numpy\] expected a tensor on cpu but got one on cuda:0"
    ):
        x.numpy()
    with pytest.raises(BufferError):
        memoryview(x)
    with pytest.raises(BufferError, match=r"\[dlpack\]"):
        np.from_dlpack(x)


def test_copies_and_pickles_stay_on_the_device() -> None:
    x = annx.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.device == "cuda:0"
        assert y.requires_grad
        assert same(y, x)


def test_modules_move() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.BatchNorm1d(4))
    before = {k: v.cpu().numpy().copy() for k, v in model.state_dict().items()}
    model.to("cuda")
    assert all(p.device == "cuda:0" and p.is_leaf for p in model.parameters())
    model.to("cpu")
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_an_op_without_a_kernel_is_named() -> None:
    x = annx.ones(2, 2, device="cuda")
    for name, act in {
        "matmul": lambda: x @ x,
        "sum": lambda: x.sum(),
        "softmax": lambda: annx.softmax(x, 1),
        "concat": lambda: annx.concat([x, x], 0),
    }.items():
        with pytest.raises(
            RuntimeError, match=rf"\[{name}\] .*{name} is not available on cuda yet"
        ):
            act()
    with pytest.raises(RuntimeError, match="got a tensor on cuda:0"):
        annx.nonzero(x)


def test_memory_is_counted_and_used_again() -> None:
    annx.cuda.synchronize()
    before = annx.cuda.memory_allocated()
    x = annx.ones(1_000_000, device="cuda")
    assert annx.cuda.memory_allocated() == before + 4_000_000
    address = x.data_ptr()
    del x
    assert annx.cuda.memory_allocated() == before
    assert annx.ones(999_999, device="cuda").data_ptr() == address
    assert annx.cuda.memory_reserved() >= 4_000_000
    assert annx.cuda.max_memory_allocated() >= before + 4_000_000
    held = annx.cuda.memory_reserved()
    annx.cuda.empty_cache()
    assert annx.cuda.memory_reserved() < held


def test_a_device_out_of_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match=r"\[allocator\].*no memory left"):
        annx.zeros(2**50, device="cuda")
    assert annx.ones(3, device="cuda").tolist() == [1.0, 1.0, 1.0]


def test_threads_share_a_device() -> None:
    def work(seed: int) -> bool:
        x = annx.tensor(np.random.default_rng(seed).standard_normal(50_000))
        y = x.cuda()
        for _ in range(5):
            x, y = annx.tanh(x * 1.5), annx.tanh(y * 1.5)
        return bool(np.array_equal(x.numpy(), y.cpu().numpy()))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))


def test_a_forked_child_is_refused_and_the_parent_goes_on() -> None:
    x = annx.ones(3, device="cuda")
    child = os.fork()
    if child == 0:
        try:
            x + x
        except RuntimeError as error:
            os._exit(0 if "did not fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (x + x).tolist() == [2.0, 2.0, 2.0]


def test_several_devices() -> None:
    names = [annx.cuda.get_device_name(i) for i in range(annx.cuda.device_count())]
    assert all(names)
    assert annx.cuda.get_device_capability()[0] >= 8
    last = annx.cuda.device_count() - 1
    x = annx.tensor([1.0, 2.0], device=f"cuda:{last}")
    assert x.device.index == last
    assert (x + 1).device.index == last
    assert x.to("cuda:0").device.index == 0
    assert x.to("cuda:0").tolist() == [1.0, 2.0]
    if last > 0:
        with pytest.raises(RuntimeError, match="one device"):
            x + annx.ones(2, device="cuda:0")
    annx.cuda.synchronize(last)
