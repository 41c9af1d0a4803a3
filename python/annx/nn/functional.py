"""Functions without state, as in ``torch.nn.functional``."""

from __future__ import annotations

from annx import _core
from annx.nn._functional_activation import celu as celu
from annx.nn._functional_activation import elu as elu
from annx.nn._functional_activation import gelu as gelu
from annx.nn._functional_activation import glu as glu
from annx.nn._functional_activation import hardshrink as hardshrink
from annx.nn._functional_activation import hardsigmoid as hardsigmoid
from annx.nn._functional_activation import hardswish as hardswish
from annx.nn._functional_activation import hardtanh as hardtanh
from annx.nn._functional_activation import leaky_relu as leaky_relu
from annx.nn._functional_activation import log_softmax as log_softmax
from annx.nn._functional_activation import logsigmoid as logsigmoid
from annx.nn._functional_activation import mish as mish
from annx.nn._functional_activation import prelu as prelu
from annx.nn._functional_activation import relu as relu
from annx.nn._functional_activation import relu6 as relu6
from annx.nn._functional_activation import rrelu as rrelu
from annx.nn._functional_activation import selu as selu
from annx.nn._functional_activation import sigmoid as sigmoid
from annx.nn._functional_activation import silu as silu
from annx.nn._functional_activation import softmax as softmax
from annx.nn._functional_activation import softmin as softmin
from annx.nn._functional_activation import softplus as softplus
from annx.nn._functional_activation import softshrink as softshrink
from annx.nn._functional_activation import softsign as softsign
from annx.nn._functional_activation import tanh as tanh
from annx.nn._functional_activation import tanhshrink as tanhshrink
from annx.nn._functional_activation import threshold as threshold
from annx.nn._functional_attention import rotary_embedding as rotary_embedding
from annx.nn._functional_attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from annx.nn._functional_attention import sinusoidal_positions as sinusoidal_positions
from annx.nn._functional_conv import conv1d as conv1d
from annx.nn._functional_conv import conv2d as conv2d
from annx.nn._functional_conv import conv3d as conv3d
from annx.nn._functional_conv import conv_transpose1d as conv_transpose1d
from annx.nn._functional_conv import conv_transpose2d as conv_transpose2d
from annx.nn._functional_conv import conv_transpose3d as conv_transpose3d
from annx.nn._functional_conv import fold as fold
from annx.nn._functional_conv import pad as pad
from annx.nn._functional_conv import unfold as unfold
from annx.nn._functional_layer import alpha_dropout as alpha_dropout
from annx.nn._functional_layer import batch_norm as batch_norm
from annx.nn._functional_layer import bilinear as bilinear
from annx.nn._functional_layer import cosine_similarity as cosine_similarity
from annx.nn._functional_layer import dropout as dropout
from annx.nn._functional_layer import dropout1d as dropout1d
from annx.nn._functional_layer import dropout2d as dropout2d
from annx.nn._functional_layer import dropout3d as dropout3d
from annx.nn._functional_layer import embedding as embedding
from annx.nn._functional_layer import group_norm as group_norm
from annx.nn._functional_layer import instance_norm as instance_norm
from annx.nn._functional_layer import layer_norm as layer_norm
from annx.nn._functional_layer import linear as linear
from annx.nn._functional_layer import normalize as normalize
from annx.nn._functional_layer import pairwise_distance as pairwise_distance
from annx.nn._functional_layer import rms_norm as rms_norm
from annx.nn._functional_loss import binary_cross_entropy as binary_cross_entropy
from annx.nn._functional_loss import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from annx.nn._functional_loss import cosine_embedding_loss as cosine_embedding_loss
from annx.nn._functional_loss import cross_entropy as cross_entropy
from annx.nn._functional_loss import hinge_embedding_loss as hinge_embedding_loss
from annx.nn._functional_loss import huber_loss as huber_loss
from annx.nn._functional_loss import kl_div as kl_div
from annx.nn._functional_loss import l1_loss as l1_loss
from annx.nn._functional_loss import margin_ranking_loss as margin_ranking_loss
from annx.nn._functional_loss import mse_loss as mse_loss
from annx.nn._functional_loss import nll_loss as nll_loss
from annx.nn._functional_loss import poisson_nll_loss as poisson_nll_loss
from annx.nn._functional_loss import smooth_l1_loss as smooth_l1_loss
from annx.nn._functional_loss import triplet_margin_loss as triplet_margin_loss
from annx.nn._functional_pool import adaptive_avg_pool1d as adaptive_avg_pool1d
from annx.nn._functional_pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from annx.nn._functional_pool import adaptive_avg_pool3d as adaptive_avg_pool3d
from annx.nn._functional_pool import adaptive_max_pool1d as adaptive_max_pool1d
from annx.nn._functional_pool import adaptive_max_pool2d as adaptive_max_pool2d
from annx.nn._functional_pool import adaptive_max_pool3d as adaptive_max_pool3d
from annx.nn._functional_pool import avg_pool1d as avg_pool1d
from annx.nn._functional_pool import avg_pool2d as avg_pool2d
from annx.nn._functional_pool import avg_pool3d as avg_pool3d
from annx.nn._functional_pool import interpolate as interpolate
from annx.nn._functional_pool import lp_pool1d as lp_pool1d
from annx.nn._functional_pool import lp_pool2d as lp_pool2d
from annx.nn._functional_pool import max_pool1d as max_pool1d
from annx.nn._functional_pool import max_pool2d as max_pool2d
from annx.nn._functional_pool import max_pool3d as max_pool3d
from annx.nn._functional_pool import max_unpool1d as max_unpool1d
from annx.nn._functional_pool import max_unpool2d as max_unpool2d
from annx.nn._functional_pool import max_unpool3d as max_unpool3d

swish = silu
one_hot = _core.ops.one_hot
