"""Measures of quality, as functions over whole arrays and as streams over batches.

Everywhere predictions come first and targets second, as in the losses. Sums run in float64.
"""

from annx.metrics._functions import accuracy as accuracy
from annx.metrics._functions import confusion_matrix as confusion_matrix
from annx.metrics._functions import f1_score as f1_score
from annx.metrics._functions import mae as mae
from annx.metrics._functions import mse as mse
from annx.metrics._functions import precision as precision
from annx.metrics._functions import recall as recall
from annx.metrics._functions import rmse as rmse
from annx.metrics._metric import Accuracy as Accuracy
from annx.metrics._metric import F1Score as F1Score
from annx.metrics._metric import MeanAbsoluteError as MeanAbsoluteError
from annx.metrics._metric import MeanSquaredError as MeanSquaredError
from annx.metrics._metric import Metric as Metric
from annx.metrics._metric import Precision as Precision
from annx.metrics._metric import Recall as Recall
from annx.metrics._metric import RootMeanSquaredError as RootMeanSquaredError

__all__ = [
    "Accuracy",
    "F1Score",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "accuracy",
    "confusion_matrix",
    "f1_score",
    "mae",
    "mse",
    "precision",
    "recall",
    "rmse",
]
