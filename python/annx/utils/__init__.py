"""Utilities around training; ``annx.utils.data`` holds datasets and loaders."""

from annx.utils import data as data

__all__ = ["data"]
