"""Gradient transformations with moments: decaying averages of gradients and of their squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.optim._base import (
    GradientTransformation,
    Scalar,
    as_dtype_of,
    first_step,
    in_dtype,
    next_step,
    state_like,
    transformation,
)
from graphad.trace.pytree import Tree, tree_map


class TraceState(NamedTuple):
    """The state of `trace`: the decaying sum of gradients."""

    trace: Tree


class EmaState(NamedTuple):
    """The state of `ema`: steps done and the decaying average."""

    count: Any
    ema: Tree


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam`: steps done, decaying averages of the gradients and of their squares."""

    count: Any
    mu: Tree
    nu: Tree


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`: steps done and the decaying average of squares."""

    count: Any
    nu: Tree


class ScaleByStddevState(NamedTuple):
    """The state of `scale_by_stddev`: steps done, decaying averages of the gradients and of their squares."""

    count: Any
    mu: Tree
    nu: Tree


class ScaleByRssState(NamedTuple):
    """The state of `scale_by_rss`: the sum of squares."""

    sum_of_squares: Tree


class ScaleByLionState(NamedTuple):
    """The state of `scale_by_lion`: steps done and the decaying average of gradients."""

    count: Any
    mu: Tree


def trace(decay: Scalar, nesterov: bool = False, accumulator_dtype: Any = None) -> GradientTransformation:
    """The decaying sum of gradients, called momentum; ``nesterov`` looks ahead by one step of it.

    The form of Nesterov's method is that of Sutskever et al. 2013.

    >>> t = trace(0.5)
    >>> _, state = t.update((1.0,), t.init((0.0,)))
    >>> t.update((1.0,), state)[0]
    (Array(1.5, dtype=float32),)
    """

    def init(params: Tree) -> TraceState:
        return TraceState(state_like(params, "trace", dtype=accumulator_dtype))

    def step(updates: Tree, state: TraceState) -> tuple[Tree, TraceState]:
        total = tree_map(lambda g, t: as_dtype_of(g, g + decay * t), updates, state.trace)
        ahead = tree_map(lambda g, t: as_dtype_of(g, g + decay * t), updates, total) if nesterov else total
        return ahead, TraceState(in_dtype(total, accumulator_dtype))

    return transformation(init, step)


def ema(decay: Scalar, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """The exponential moving average of the updates; with ``debias`` it is corrected for its start from zero.

    >>> e = ema(0.5)
    >>> e.update((1.0,), e.init((0.0,)))[0]
    (Array(1., dtype=float32),)
    """

    def init(params: Tree) -> EmaState:
        return EmaState(first_step(), state_like(params, "ema", dtype=accumulator_dtype))

    def step(updates: Tree, state: EmaState) -> tuple[Tree, EmaState]:
        average, count = averaged(updates, state.ema, decay), next_step(state.count)
        result = unbiased(average, decay, count) if debias else average
        return result, EmaState(count, in_dtype(average, accumulator_dtype))

    return transformation(init, step)


def scale_by_adam(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """The average gradient divided by the root of the average square (Kingma and Ba 2015; `nesterov`: Dozat 2016).

    >>> t = scale_by_adam()
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(0.99999..., dtype=float32),)
    """

    def init(params: Tree) -> ScaleByAdamState:
        mu = state_like(params, "adam", dtype=mu_dtype)
        return ScaleByAdamState(first_step(), mu, state_like(params, "adam"))

    def step(updates: Tree, state: ScaleByAdamState) -> tuple[Tree, ScaleByAdamState]:
        count = next_step(state.count)
        mu, nu = averaged(updates, state.mu, b1), averaged_squares(updates, state.nu, b2)
        if nesterov:
            ahead, now = unbiased(mu, b1, next_step(count)), unbiased(updates, b1, count)
            mean = averaged(now, ahead, b1)
        else:
            mean = unbiased(mu, b1, count)
        root = tree_map(lambda v: gnp.sqrt(v + eps_root), unbiased(nu, b2, count))
        scaled = tree_map(lambda m, r: as_dtype_of(m, m / (r + eps)), mean, root)
        return scaled, ScaleByAdamState(count, in_dtype(mu, mu_dtype), nu)

    return transformation(init, step)


def scale_by_rms(
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Gradients divided by the root of the average square (Hinton 2012).

    >>> t = scale_by_rms(decay=0.75)
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(2., dtype=float32),)
    """

    def init(params: Tree) -> ScaleByRmsState:
        return ScaleByRmsState(first_step(), state_like(params, "rmsprop", initial_scale))

    def step(updates: Tree, state: ScaleByRmsState) -> tuple[Tree, ScaleByRmsState]:
        nu, count = averaged_squares(updates, state.nu, decay), next_step(state.count)
        squares = unbiased(nu, decay, count) if bias_correction else nu
        scaled = tree_map(lambda g, v: as_dtype_of(g, _over_root(g, v, eps, eps_in_sqrt)), updates, squares)
        return scaled, ScaleByRmsState(count, nu)

    return transformation(init, step)


def scale_by_stddev(
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Gradients divided by their standard deviation, of which decaying averages are kept (Graves 2013).

    >>> t = scale_by_stddev(decay=0.5)
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(2., dtype=float32),)
    """

    def init(params: Tree) -> ScaleByStddevState:
        mu = state_like(params, "rmsprop")
        return ScaleByStddevState(first_step(), mu, state_like(params, "rmsprop", initial_scale))

    def step(updates: Tree, state: ScaleByStddevState) -> tuple[Tree, ScaleByStddevState]:
        mu, nu = averaged(updates, state.mu, decay), averaged_squares(updates, state.nu, decay)
        count = next_step(state.count)
        means, squares = (unbiased(m, decay, count) if bias_correction else m for m in (mu, nu))
        variances = tree_map(lambda m, v: v - m * m, means, squares)
        scaled = tree_map(lambda g, v: as_dtype_of(g, _over_root(g, v, eps, eps_in_sqrt)), updates, variances)
        return scaled, ScaleByStddevState(count, mu, nu)

    return transformation(init, step)


def scale_by_rss(initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7) -> GradientTransformation:
    """Gradients divided by the root of the sum of all squares so far (Duchi et al. 2011).

    >>> t = scale_by_rss(0.0)
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(1., dtype=float32),)
    """

    def init(params: Tree) -> ScaleByRssState:
        return ScaleByRssState(state_like(params, "adagrad", initial_accumulator_value))

    def step(updates: Tree, state: ScaleByRssState) -> tuple[Tree, ScaleByRssState]:
        total = tree_map(lambda g, t: as_dtype_of(g, g * g + t), updates, state.sum_of_squares)

        def scaled(g: Any, t: Any) -> Any:
            # Where nothing has come in yet, there is nothing to divide by.
            return as_dtype_of(g, gnp.where(t > 0, g / gnp.sqrt(gnp.where(t > 0, t + eps, 1)), 0))

        return tree_map(scaled, updates, total), ScaleByRssState(total)

    return transformation(init, step)


def scale_by_lion(b1: Scalar = 0.9, b2: Scalar = 0.99, mu_dtype: Any = None) -> GradientTransformation:
    """The sign of a decaying average of gradients (Chen et al. 2023).

    >>> t = scale_by_lion()
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(1., dtype=float32),)
    """

    def init(params: Tree) -> ScaleByLionState:
        return ScaleByLionState(first_step(), state_like(params, "lion", dtype=mu_dtype))

    def step(updates: Tree, state: ScaleByLionState) -> tuple[Tree, ScaleByLionState]:
        direction = tree_map(gnp.sign, averaged(updates, state.mu, b1))
        mu = in_dtype(averaged(updates, state.mu, b2), mu_dtype)
        return direction, ScaleByLionState(next_step(state.count), mu)

    return transformation(init, step)


def averaged(updates: Tree, average: Tree, decay: Scalar) -> Tree:
    """The decaying average after one more update."""
    return tree_map(lambda g, m: as_dtype_of(g, (1 - decay) * g + decay * m), updates, average)


def averaged_squares(updates: Tree, average: Tree, decay: Scalar) -> Tree:
    """The decaying average of squares after one more update."""
    return tree_map(lambda g, v: as_dtype_of(g, (1 - decay) * (g * g) + decay * v), updates, average)


def unbiased(average: Tree, decay: Scalar, count: Any) -> Tree:
    """An average after ``count`` steps, with bias correction for its start from zero."""

    def corrected(m: Any) -> Any:
        dtype = np.result_type(m.dtype, np.float32)  # a count beyond 256 is no bfloat16
        return m / (1 - decay ** count.astype(dtype)).astype(m.dtype)

    return tree_map(corrected, average)


def _over_root(g: Any, square: Any, eps: Scalar, eps_in_sqrt: bool) -> Any:
    return g / gnp.sqrt(square + eps) if eps_in_sqrt else g / (gnp.sqrt(square) + eps)
