"""Whole training steps. A workload is one small file: a model, a loss, data; see ``base.py``."""
