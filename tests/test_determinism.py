"""Promises of a whole training run: same bits everywhere, and forked children that train."""

from __future__ import annotations

import hashlib
import os
import time

import annx
import numpy as np
import pytest
from annx import _core, nn
from annx.datasets import load_digits


def train_digest() -> str:
    """SHA-256 of all weights after three epochs with dropout, batch norm and a short last batch."""
    annx.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = x[:500] / 16, y[:500]
    model = nn.Sequential(
        nn.Linear(64, 48), nn.GELU(), nn.BatchNorm1d(48), nn.Dropout(0.2), nn.Linear(48, 10)
    )
    model.compile(optimizer="adamw", loss="cross_entropy", metrics=["accuracy"])
    model.fit(x, y, epochs=3, batch_size=64, verbose=0)
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.asarray(value.detach().numpy()).tobytes())
    return digest.hexdigest()


def test_threads_and_targets_give_the_same_weights() -> None:
    threads, target = annx.num_threads(), _core.active_target()
    digests = {}
    try:
        for count in (1, 2, 4):
            annx.set_num_threads(count)
            digests[f"{count} threads"] = train_digest()
        for name in _core.supported_targets():
            _core.set_target(name)
            digests[name] = train_digest()
    finally:
        annx.set_num_threads(threads)
        _core.set_target(target)
    assert len(set(digests.values())) == 1, digests


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 warns of threads in the parent
def test_forked_children_train_and_exit() -> None:
    before = annx.num_threads()
    annx.set_num_threads(2)
    try:
        big = annx.ones(1 << 20)
        assert (big + big).sum().item() == 2 << 20  # the pool has run
        expected = None
        for _ in range(200):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    annx.manual_seed(1)
                    layer = nn.Linear(256, 256)
                    optimizer = annx.optim.Adam(layer.parameters(), lr=1e-3)
                    loss = layer(annx.randn(256, 256)).square().mean()
                    loss.backward()
                    optimizer.step()
                    os.write(writer, layer.weight.detach().sum().item().hex().encode())
                    code = 0
                finally:
                    os._exit(code)
            os.close(writer)
            deadline = time.monotonic() + 30
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    break
                assert time.monotonic() < deadline, "a forked child hangs"
                time.sleep(0.0005)
            assert status == 0
            value = os.read(reader, 100)
            os.close(reader)
            expected = expected or value
            assert value == expected
    finally:
        annx.set_num_threads(before)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"])
def test_fused_and_unfused_activations_agree(activation: str) -> None:
    annx.manual_seed(1)
    names = {"gelu": "gelu_erf"}
    x, w, b = annx.randn(33, 20), annx.randn(17, 20), annx.randn(17)
    fused = _core.ops.linear(x, w, b, activation)
    plain = getattr(_core.ops, names.get(activation, activation))(_core.ops.linear(x, w, b))
    assert fused.numpy().tobytes() == plain.numpy().tobytes()
