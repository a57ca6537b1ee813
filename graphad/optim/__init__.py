"""Optimisers as pairs of pure functions over pytrees. Names, arguments and results are those of optax.

``init(params)`` gives the state, ``update(grads, state, params)`` what to add to the parameters and the next state, and
`apply_updates` adds it. All of it may be traced: a whole training step can be compiled.

>>> import graphad
>>> optimizer = graphad.optim.sgd(0.1)
>>> params = {"w": 1.0}
>>> state = optimizer.init(params)
>>> grads = graphad.grad(lambda p: p["w"] ** 2)(params)
>>> updates, state = optimizer.update(grads, state)
>>> graphad.optim.apply_updates(params, updates)
{'w': Array(0.8, dtype=float32)}

An optimiser is a chain of gradient transformations, and so is what you make yourself:

>>> careful = graphad.optim.chain(graphad.optim.clip_by_global_norm(1.0), graphad.optim.adam(1e-3))
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.optim._base import EmptyState as EmptyState
from graphad.optim._base import GradientTransformation as GradientTransformation
from graphad.optim._base import ScalarOrSchedule as ScalarOrSchedule
from graphad.optim._base import Schedule as Schedule
from graphad.optim._base import UpdateFn as UpdateFn
from graphad.optim._base import apply_updates as apply_updates
from graphad.optim._base import global_norm as global_norm
from graphad.optim._base import identity as identity
from graphad.optim._base import incremental_update as incremental_update
from graphad.optim._base import set_to_zero as set_to_zero
from graphad.optim._base import stateless as stateless
from graphad.optim._combine import ApplyEveryState as ApplyEveryState
from graphad.optim._combine import MaskedState as MaskedState
from graphad.optim._combine import MultiSteps as MultiSteps
from graphad.optim._combine import MultiStepsState as MultiStepsState
from graphad.optim._combine import apply_every as apply_every
from graphad.optim._combine import chain as chain
from graphad.optim._combine import masked as masked
from graphad.optim._lbfgs import ScaleByLBFGSState as ScaleByLBFGSState
from graphad.optim._lbfgs import scale_by_lbfgs as scale_by_lbfgs
from graphad.optim._line_search import ScaleByZoomLinesearchState as ScaleByZoomLinesearchState
from graphad.optim._line_search import ZoomLinesearchInfo as ZoomLinesearchInfo
from graphad.optim._line_search import scale_by_zoom_linesearch as scale_by_zoom_linesearch
from graphad.optim._line_search import value_and_grad_from_state as value_and_grad_from_state
from graphad.optim._moments import EmaState as EmaState
from graphad.optim._moments import ScaleByAdamState as ScaleByAdamState
from graphad.optim._moments import ScaleByLionState as ScaleByLionState
from graphad.optim._moments import ScaleByRmsState as ScaleByRmsState
from graphad.optim._moments import ScaleByRssState as ScaleByRssState
from graphad.optim._moments import ScaleByStddevState as ScaleByStddevState
from graphad.optim._moments import TraceState as TraceState
from graphad.optim._moments import ema as ema
from graphad.optim._moments import scale_by_adam as scale_by_adam
from graphad.optim._moments import scale_by_lion as scale_by_lion
from graphad.optim._moments import scale_by_rms as scale_by_rms
from graphad.optim._moments import scale_by_rss as scale_by_rss
from graphad.optim._moments import scale_by_stddev as scale_by_stddev
from graphad.optim._moments import trace as trace
from graphad.optim._optimizers import adagrad as adagrad
from graphad.optim._optimizers import adam as adam
from graphad.optim._optimizers import adamw as adamw
from graphad.optim._optimizers import lbfgs as lbfgs
from graphad.optim._optimizers import lion as lion
from graphad.optim._optimizers import rmsprop as rmsprop
from graphad.optim._optimizers import sgd as sgd
from graphad.optim._schedules import constant_schedule as constant_schedule
from graphad.optim._schedules import cosine_decay_schedule as cosine_decay_schedule
from graphad.optim._schedules import cosine_onecycle_schedule as cosine_onecycle_schedule
from graphad.optim._schedules import exponential_decay as exponential_decay
from graphad.optim._schedules import join_schedules as join_schedules
from graphad.optim._schedules import linear_onecycle_schedule as linear_onecycle_schedule
from graphad.optim._schedules import linear_schedule as linear_schedule
from graphad.optim._schedules import piecewise_constant_schedule as piecewise_constant_schedule
from graphad.optim._schedules import piecewise_interpolate_schedule as piecewise_interpolate_schedule
from graphad.optim._schedules import polynomial_schedule as polynomial_schedule
from graphad.optim._schedules import sgdr_schedule as sgdr_schedule
from graphad.optim._schedules import warmup_constant_schedule as warmup_constant_schedule
from graphad.optim._schedules import warmup_cosine_decay_schedule as warmup_cosine_decay_schedule
from graphad.optim._schedules import warmup_exponential_decay_schedule as warmup_exponential_decay_schedule
from graphad.optim._simple import ScaleByScheduleState as ScaleByScheduleState
from graphad.optim._simple import add_decayed_weights as add_decayed_weights
from graphad.optim._simple import clip as clip
from graphad.optim._simple import clip_by_block_rms as clip_by_block_rms
from graphad.optim._simple import clip_by_global_norm as clip_by_global_norm
from graphad.optim._simple import scale as scale
from graphad.optim._simple import scale_by_learning_rate as scale_by_learning_rate
from graphad.optim._simple import scale_by_schedule as scale_by_schedule
from graphad.optim._simple import scale_by_sign as scale_by_sign

__dir__ = _listing(globals())
