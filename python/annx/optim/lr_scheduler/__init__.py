"""Learning-rate schedules, with the names and arguments of ``torch.optim.lr_scheduler``."""

from annx.optim.lr_scheduler._base import LRScheduler as LRScheduler
from annx.optim.lr_scheduler._cycle import (
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from annx.optim.lr_scheduler._cycle import OneCycleLR as OneCycleLR
from annx.optim.lr_scheduler._decay import CosineAnnealingLR as CosineAnnealingLR
from annx.optim.lr_scheduler._decay import ExponentialLR as ExponentialLR
from annx.optim.lr_scheduler._decay import LambdaLR as LambdaLR
from annx.optim.lr_scheduler._decay import LinearLR as LinearLR
from annx.optim.lr_scheduler._decay import MultiStepLR as MultiStepLR
from annx.optim.lr_scheduler._decay import StepLR as StepLR
from annx.optim.lr_scheduler._plateau import ReduceLROnPlateau as ReduceLROnPlateau

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "StepLR",
]
