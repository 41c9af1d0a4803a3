"""The training loop behind ``fit``, ``evaluate`` and ``predict`` of every module."""

from annx.train._callback import Callback as Callback
from annx.train._callback import CallbackList as CallbackList
from annx.train._callback import History as History
from annx.train._fit import Trainable as Trainable

__all__ = ["Callback", "CallbackList", "History", "Trainable"]
