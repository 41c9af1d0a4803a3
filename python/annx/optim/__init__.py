"""Optimizers and learning-rate schedules, with the names and arguments of ``torch.optim``."""

from annx.optim import lr_scheduler as lr_scheduler
from annx.optim._adam import Adam as Adam
from annx.optim._adam import AdamW as AdamW
from annx.optim._adam_variants import Adamax as Adamax
from annx.optim._adam_variants import NAdam as NAdam
from annx.optim._adam_variants import RAdam as RAdam
from annx.optim._adaptive import Adadelta as Adadelta
from annx.optim._adaptive import Adagrad as Adagrad
from annx.optim._adaptive import RMSprop as RMSprop
from annx.optim._optimizer import Optimizer as Optimizer
from annx.optim._sgd import SGD as SGD
from annx.optim._signs import ASGD as ASGD
from annx.optim._signs import Lion as Lion
from annx.optim._signs import Rprop as Rprop

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
]
