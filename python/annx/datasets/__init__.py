"""Small real data sets that come with the package; nothing is downloaded."""

from annx.datasets._digits import Digits, load_digits

__all__ = ["Digits", "load_digits"]
