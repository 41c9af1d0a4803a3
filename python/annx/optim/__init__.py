"""Optimizers and learning-rate schedules, with the names and arguments of ``torch.optim``."""

from annx.optim import lr_scheduler as lr_scheduler
from annx.optim._adam import Adam as Adam
from annx.optim._adam import AdamW as AdamW
from annx.optim._optimizer import Optimizer as Optimizer
from annx.optim._sgd import SGD as SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
