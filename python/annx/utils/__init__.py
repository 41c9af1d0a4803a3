"""Utilities around training: datasets and loaders in ``data``, less memory in ``checkpoint``."""

from annx.utils import checkpoint as checkpoint
from annx.utils import data as data

__all__ = ["checkpoint", "data"]
