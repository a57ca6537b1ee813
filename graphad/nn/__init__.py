"""Functions that neural networks are made of. Names, arguments and results are those of ``jax.nn``.

`layer_norm`, `rms_norm`, `batch_norm`, `group_norm` and `dropout`, which it does not have, are pure functions like the
others; parameters begin as `initializers` make them. Functions of 16-bit floats are computed in float32, and rounded
once.
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.lax._windows import avg_pool as avg_pool
from graphad.lax._windows import max_pool as max_pool
from graphad.lax._windows import min_pool as min_pool
from graphad.nn import initializers as initializers
from graphad.nn._activations import celu as celu
from graphad.nn._activations import elu as elu
from graphad.nn._activations import gelu as gelu
from graphad.nn._activations import glu as glu
from graphad.nn._activations import hard_sigmoid as hard_sigmoid
from graphad.nn._activations import hard_silu as hard_silu
from graphad.nn._activations import hard_swish as hard_swish
from graphad.nn._activations import hard_tanh as hard_tanh
from graphad.nn._activations import identity as identity
from graphad.nn._activations import leaky_relu as leaky_relu
from graphad.nn._activations import log1mexp as log1mexp
from graphad.nn._activations import log_sigmoid as log_sigmoid
from graphad.nn._activations import mish as mish
from graphad.nn._activations import relu as relu
from graphad.nn._activations import relu6 as relu6
from graphad.nn._activations import selu as selu
from graphad.nn._activations import sigmoid as sigmoid
from graphad.nn._activations import silu as silu
from graphad.nn._activations import soft_sign as soft_sign
from graphad.nn._activations import softplus as softplus
from graphad.nn._activations import sparse_plus as sparse_plus
from graphad.nn._activations import sparse_sigmoid as sparse_sigmoid
from graphad.nn._activations import squareplus as squareplus
from graphad.nn._activations import swish as swish
from graphad.nn._activations import tanh as tanh
from graphad.nn._attention import dot_product_attention as dot_product_attention
from graphad.nn._layers import batch_norm as batch_norm
from graphad.nn._layers import dropout as dropout
from graphad.nn._layers import group_norm as group_norm
from graphad.nn._layers import layer_norm as layer_norm
from graphad.nn._layers import rms_norm as rms_norm
from graphad.nn._layers import standardize as standardize
from graphad.nn._logits import log_softmax as log_softmax
from graphad.nn._logits import logmeanexp as logmeanexp
from graphad.nn._logits import logsumexp as logsumexp
from graphad.nn._logits import one_hot as one_hot
from graphad.nn._logits import softmax as softmax

__dir__ = _listing(globals(), "initializers")
