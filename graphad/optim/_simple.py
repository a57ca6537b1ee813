"""Gradient transformations that look at the present step only: scaling, clipping, weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.optim._base import (
    GradientTransformation,
    Scalar,
    ScalarOrSchedule,
    Schedule,
    as_dtype_of,
    first_step,
    in_32_bits,
    next_step,
    params_required,
    stateless,
    transformation,
    wide_norm,
)
from graphad.optim._combine import Mask, masked
from graphad.trace.pytree import Tree, tree_map


class ScaleByScheduleState(NamedTuple):
    """The state of `scale_by_schedule`: steps done."""

    count: Any


def scale(step_size: Scalar) -> GradientTransformation:
    """Updates times a number.

    >>> import graphad.numpy as gnp
    >>> scale(-0.5).update((gnp.array(4.0),), ())[0]
    (Array(-2., dtype=float32),)
    """
    return stateless(lambda updates, params: tree_map(lambda g: as_dtype_of(g, step_size * g), updates))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Updates times a function of the number of steps done.

    >>> t = scale_by_schedule(lambda count: 1.0 / (1 + count))
    >>> _, state = t.update((4.0,), t.init((0.0,)))
    >>> t.update((4.0,), state)[0]
    (Array(2., dtype=float32),)
    """

    def step(updates: Tree, state: ScaleByScheduleState) -> tuple[Tree, ScaleByScheduleState]:
        factor = step_size_fn(state.count)
        scaled = tree_map(lambda g: as_dtype_of(g, factor * g), updates)
        return scaled, ScaleByScheduleState(next_step(state.count))

    return transformation(lambda params: ScaleByScheduleState(first_step()), step)


def scale_by_learning_rate(learning_rate: ScalarOrSchedule, *, flip_sign: bool = True) -> GradientTransformation:
    """Updates times minus the learning rate, a number or a schedule; ``flip_sign=False`` leaves the minus out.

    >>> import graphad.numpy as gnp
    >>> scale_by_learning_rate(0.5).update((gnp.array(4.0),), ())[0]
    (Array(-2., dtype=float32),)
    """
    sign = -1 if flip_sign else 1
    if callable(learning_rate):
        schedule: Callable[[Any], Scalar] = learning_rate
        return scale_by_schedule(lambda count: sign * schedule(count))

    def scaled(updates: Tree, _: Tree) -> Tree:
        factor = sign * learning_rate
        return tree_map(lambda g: as_dtype_of(g, factor * g), updates)

    return stateless(scaled)


def scale_by_sign() -> GradientTransformation:
    """The signs of the updates.

    >>> scale_by_sign().update((-4.0,), ())[0]
    (Array(-1., dtype=float32, weak_type=True),)
    """
    return stateless(lambda updates, params: tree_map(gnp.sign, updates))


def clip(max_delta: Scalar) -> GradientTransformation:
    """Each element kept between ``-max_delta`` and ``max_delta``.

    >>> import graphad.numpy as gnp
    >>> clip(1.0).update(gnp.array([-3.0, 0.5]), ())[0]
    Array([-1. ,  0.5], dtype=float32)
    """
    return stateless(
        lambda updates, params: tree_map(lambda g: as_dtype_of(g, gnp.clip(g, -max_delta, max_delta)), updates)
    )


def clip_by_global_norm(max_norm: Scalar) -> GradientTransformation:
    """Updates shortened together where `global_norm` of them exceeds ``max_norm`` (Pascanu et al. 2013).

    >>> import graphad.numpy as gnp
    >>> clip_by_global_norm(1.0).update(gnp.array([3.0, 4.0]), ())[0]
    Array([0.6, 0.8], dtype=float32)
    """

    def clipped(updates: Tree, params: Tree) -> Tree:
        norm = wide_norm(updates)
        short = norm < max_norm
        divisor = gnp.where(short, 1.0, norm)  # nothing is divided by a zero norm
        return tree_map(lambda g: as_dtype_of(g, gnp.where(short, g, (g / divisor) * max_norm)), updates)

    return stateless(clipped)


def clip_by_block_rms(threshold: Scalar) -> GradientTransformation:
    """Each array shortened where the root of its mean square exceeds ``threshold``.

    >>> import graphad.numpy as gnp
    >>> clip_by_block_rms(1.0).update((gnp.array([3.0, 3.0]),), ())[0]
    (Array([1., 1.], dtype=float32),)
    """

    def clipped(g: Any) -> Any:
        g = gnp.asarray(g)
        wide = in_32_bits(g)
        return as_dtype_of(g, wide / gnp.maximum(1.0, gnp.sqrt(gnp.mean(wide * wide)) / threshold)) if g.size else g

    return stateless(lambda updates, params: tree_map(clipped, updates))


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: Mask | None = None) -> GradientTransformation:
    """Updates plus ``weight_decay * params``, where ``mask`` (see `masked`) is true.

    >>> import graphad.numpy as gnp
    >>> add_decayed_weights(0.5).update((gnp.array(1.0),), (), (gnp.array(4.0),))[0]
    (Array(3., dtype=float32),)
    """

    def decayed(updates: Tree, params: Tree, rate: Scalar) -> Tree:
        params = params_required(params, "add_decayed_weights")
        return tree_map(lambda g, p: as_dtype_of(g, g + rate * p), updates, params)

    def update(
        updates: Tree, state: ScaleByScheduleState, params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, ScaleByScheduleState]:
        rate = weight_decay(state.count)
        return decayed(updates, params, rate), ScaleByScheduleState(next_step(state.count))

    if callable(weight_decay):
        inner = GradientTransformation(lambda params: ScaleByScheduleState(first_step()), update)
    else:
        inner = stateless(lambda updates, params: decayed(updates, params, weight_decay))
    return inner if mask is None else masked(inner, mask)
