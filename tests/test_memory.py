"""What a process that never sees the same shape twice keeps of its memory."""

import subprocess
import sys

import pytest

COMMON = """
import os
import numpy as np, annx
from annx import nn
from annx.bench.footprint import peak_bytes
F = nn.functional
def resident():
    if not os.path.exists("/proc/self/statm"):
        return peak_bytes()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
annx.manual_seed(0)
draw = np.random.default_rng(0)
def train(model):
    optimizer = annx.optim.SGD(model.parameters(), lr=0.01)
    def step(x):
        optimizer.zero_grad()
        result = model(x)
        loss = (result[0] if isinstance(result, tuple) else result).square().mean()
        loss.backward()
        optimizer.step()
        return loss
    return step
def array(*shape):
    return annx.tensor(draw.standard_normal(shape).astype(np.float32))
"""
# How a step of number i, of 2,000, is made; the shapes of all are distinct.
STEPS = {
    "products": """
def one(i):
    m, k, n = 1 + i % 50 * 5, 1 + i // 50 * 6, 1 + i * 37 % 251
    a = array(m, k).requires_grad_()
    F.gelu(a @ array(k, n)).softmax(1).mean().backward()
""",
    "convolutions": """
step = train(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                           nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, padding=1)))
def one(i):
    step(array(2, 3, 4 + i % 40, 4 + i // 40))
""",
    "attention": """
attention = nn.MultiheadAttention(16, 4, batch_first=True)
class Itself(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = attention
    def forward(self, x):
        return self.inner(x, x, x)
step = train(Itself())
def one(i):
    step(array(1 + i % 20, 1 + i // 20, 16))
""",
    "captured": """
step = annx.jit(train(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))))
def one(i):
    step(array(1 + i, 16))
""",
}
RUN = """
for i in (1999, *range(0, 2000, 20)):
    one(i)
before = resident()
for i in np.random.default_rng(1).permutation(2000).tolist():
    one(i)
print(resident() - before)
"""


@pytest.mark.parametrize("kind", STEPS)
def test_two_thousand_shapes_leave_no_memory_behind(kind):
    done = subprocess.run(
        [sys.executable, "-c", COMMON + STEPS[kind] + RUN],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 8 << 20
