"""Helpers for training by hand, as ``torch.nn.utils``: clipping of gradients, packed sequences."""

from __future__ import annotations

from annx.nn.utils import rnn as rnn
from annx.nn.utils._clip import clip_grad_norm_ as clip_grad_norm_
from annx.nn.utils._clip import clip_grad_value_ as clip_grad_value_
