"""Captured calls, other threads, and processes that fork beside them."""

from __future__ import annotations

import os
import signal
import threading

import annx
import numpy as np
import pytest
from annx import nn, optim


def test_a_tensor_of_another_thread_is_an_error() -> None:
    def f(x: annx.Tensor) -> annx.Tensor:
        found: list[annx.Tensor] = []
        thread = threading.Thread(target=lambda: found.append(x * 3))
        thread.start()
        thread.join()
        return found[0] + x

    with pytest.raises(RuntimeError, match="another thread made a tensor that is used here"):
        annx.jit(f)(annx.ones(2))


def test_what_other_threads_do_beside_a_capture_is_their_own() -> None:
    constant = annx.ones(2)

    def f(x: annx.Tensor) -> annx.Tensor:
        # Reads the same memory, and makes some that the call does not use.
        thread = threading.Thread(target=lambda: constant.view(2, 1) * 3)
        thread.start()
        thread.join()
        return constant + x

    step = annx.jit(f)
    assert [step(annx.ones(2) * k).tolist() for k in (1, 2)] == [[2, 2], [3, 3]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 3.12 warns of threads in the parent
def test_children_forked_while_a_step_is_replayed_can_replay_it() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = optim.Adam(model.parameters())
    serve = annx.prepare(model, annx.ones(4, 64))

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = annx.ones(256, 64)
    step(x)
    step(x)
    over = threading.Event()

    def train() -> None:
        while not over.is_set():
            step(x)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends a child that hangs
                loss = float(step(x))
                done = np.isfinite(loss) and serve(annx.ones(4, 64)).shape == (4, 1)
                os._exit(0 if done else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        thread.join()
