"""The line search for L-BFGS: a step that meets the strong Wolfe conditions.

It is written with Python's own `while` and `if`. Run it as it is, outside `jit`: the function searched is compiled, and
each trial costs one call of it. Inside `jit` it works as well, but each sequence of decisions is a path of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.grad import value_and_grad
from graphad.api.jit import jit
from graphad.optim._base import (
    GradientTransformation,
    Scalar,
    add_scaled,
    as_dtype_of,
    params_required,
    tree_vdot,
)
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.source import where


class ZoomLinesearchInfo(NamedTuple):
    """How a search went: trials made, and by how much the step misses the two conditions (0 where it meets them)."""

    num_linesearch_steps: Any
    decrease_error: Any
    curvature_error: Any


class ScaleByZoomLinesearchState(NamedTuple):
    """The state of `scale_by_zoom_linesearch`: the step's length, value and gradient where it ends, how it went."""

    learning_rate: Any
    value: Any
    grad: Tree
    info: ZoomLinesearchInfo


class Trial(NamedTuple):
    """A point on the line: how far along, the function's value and slope there, and its gradient."""

    stepsize: Any
    value: Any
    slope: Any
    grad: Tree


class Interval(NamedTuple):
    """Where a good step must lie: ``low`` is the better end; ``ref`` is a third point to interpolate through."""

    low: Trial
    high: Trial
    ref: Trial


def scale_by_zoom_linesearch(
    max_linesearch_steps: int,
    max_learning_rate: Scalar | None = None,
    tol: float = 0.0,
    increase_factor: float = 2.0,
    slope_rtol: float = 1e-4,
    curv_rtol: float = 0.9,
    approx_dec_rtol: float | None = 1e-6,
    stepsize_precision: float = 1e-5,
    initial_guess_strategy: str = "keep",
) -> GradientTransformation:
    """Updates times a factor that meets the strong Wolfe conditions (Nocedal and Wright 1999, algorithms 3.5, 3.6).

    ``update`` takes ``value``, ``grad`` and ``value_fn`` besides the parameters, and hands other keyword arguments on
    to ``value_fn``.

    Parameters
    ----------
    max_linesearch_steps
        How many points are tried at most.
    max_learning_rate
        The longest step.
    tol
        By how much the conditions may be missed.
    increase_factor
        How steps grow until one is too long.
    slope_rtol, curv_rtol
        The value must fall by ``slope_rtol`` of what the first slope promises; the slope must shrink to ``curv_rtol``.
    approx_dec_rtol
        Near the minimum, where values differ by rounding only, judge the fall by the slopes (Hager and Zhang 2006);
        "near" is this part of the value. None for never.
    stepsize_precision
        An interval this short is searched no further.
    initial_guess_strategy
        Begin with the last step's length, ``"keep"``, or with ``"one"``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> t = scale_by_zoom_linesearch(20)
    >>> x = gnp.array(3.0)
    >>> scaled, state = t.update(-8 * x, t.init(x), x, value=4 * x**2, grad=8 * x, value_fn=lambda x: 4 * x**2)
    >>> state.learning_rate, x + scaled
    (Array(0.125, dtype=float32), Array(0., dtype=float32))
    """
    if initial_guess_strategy not in ("keep", "one"):
        raise ValueError(
            f"{where()}scale_by_zoom_linesearch takes initial_guess_strategy 'keep' or 'one', "
            f"got {initial_guess_strategy!r}."
        )
    search = _ZoomSearch(
        max_linesearch_steps, max_learning_rate, tol, increase_factor, slope_rtol, curv_rtol, approx_dec_rtol,
        stepsize_precision,
    )  # fmt: skip
    compiled = lru_cache(maxsize=1)(_compiled)

    def init(params: Tree) -> ScaleByZoomLinesearchState:
        one = gnp.ones((), tree_vdot(params, params).dtype)
        info = ZoomLinesearchInfo(gnp.zeros((), np.int32), one * np.inf, one * np.inf)
        return ScaleByZoomLinesearchState(one, one * np.inf, tree_map(gnp.zeros_like, params), info)

    def update(
        updates: Tree, state: ScaleByZoomLinesearchState, params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, ScaleByZoomLinesearchState]:
        params = params_required(params, "scale_by_zoom_linesearch")
        value, grad, value_fn = (_required(extra_args, name) for name in ("value", "grad", "value_fn"))
        extra_args = {k: v for k, v in extra_args.items() if k not in ("value", "grad", "value_fn")}

        def at(stepsize: Any) -> Trial:
            here = add_scaled(params, stepsize, updates)
            found, slopes = compiled(value_fn)(here, **extra_args)
            return Trial(stepsize, found, tree_vdot(slopes, updates), slopes)

        slope = tree_vdot(updates, grad)
        start = Trial(gnp.zeros_like(slope), as_dtype_of(slope, value), slope, grad)
        guess = state.learning_rate if initial_guess_strategy == "keep" else gnp.ones_like(slope)
        best, info = search(at, start, guess)
        scaled = tree_map(lambda u: as_dtype_of(u, best.stepsize * u), updates)
        return scaled, ScaleByZoomLinesearchState(best.stepsize, best.value, best.grad, info)

    return GradientTransformation(init, update)


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Tree]]:
    """`value_and_grad`, compiled, but free where a line search has left both in the optimiser's state.

    The function returned takes the state as the keyword argument ``state``, and else what ``value_fn`` takes.

    >>> import graphad
    >>> optimizer = graphad.optim.lbfgs()
    >>> value_and_grad_from_state(lambda x: x**2)(3.0, state=optimizer.init(3.0))
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    compute = _compiled(value_fn)

    def value_and_grad_at(params: Tree, *args: Any, state: Any, **kwargs: Any) -> tuple[Any, Tree]:
        found = _with_value(state)
        if found is None:
            raise ValueError(
                f"{where()}the state holds no value and gradient: no part of the optimiser is a line search."
            )
        return (found.value, found.grad) if gnp.isfinite(found.value) else compute(params, *args, **kwargs)

    return value_and_grad_at


@dataclass(frozen=True)
class _ZoomSearch:
    """The search itself, with the options of `scale_by_zoom_linesearch`."""

    max_steps: int
    max_stepsize: Scalar | None
    tol: float
    increase_factor: float
    slope_rtol: float
    curv_rtol: float
    approx_dec_rtol: float | None
    interval_threshold: float

    def __call__(self, at: Callable[[Any], Trial], start: Trial, guess: Any) -> tuple[Trial, ZoomLinesearchInfo]:
        """Lengthen the step until it goes too far, then close in; the best of what was tried."""
        trial = safe = start
        decrease = curvature = start.value * np.inf
        interval: Interval | None = None
        count = 0
        while count < self.max_steps:
            stepsize = _interpolated(interval) if interval else self._longer(trial, guess, count)
            previous, trial, count = trial, at(stepsize), count + 1
            decrease, curvature = self._decrease_error(trial, start), self._curvature_error(trial, start)
            info = ZoomLinesearchInfo(gnp.asarray(np.int32(count)), decrease, curvature)
            if decrease <= self.tol:
                if curvature <= self.tol:
                    return trial, info
                if interval is None or trial.value < safe.value:
                    safe = trial
            if interval:
                short = abs(interval.high.stepsize - interval.low.stepsize) <= self.interval_threshold
                if short and safe.stepsize > 0:
                    break
                interval = _narrowed(interval, trial, decrease)
            else:
                interval = _bracket(previous, trial, decrease, count)
                if interval is None and self.max_stepsize is not None and stepsize >= self.max_stepsize:
                    return trial, info
        info = ZoomLinesearchInfo(gnp.asarray(np.int32(count)), decrease, curvature)
        return (safe if gnp.isinf(decrease) or safe.stepsize > 0 else trial), info

    def _longer(self, trial: Trial, guess: Any, count: int) -> Any:
        stepsize = self.increase_factor * trial.stepsize if count else guess
        return stepsize if self.max_stepsize is None else gnp.minimum(stepsize, self.max_stepsize)

    def _decrease_error(self, trial: Trial, start: Trial) -> Any:
        """By how much the value fails to fall as promised: (3.7a), or close to the minimum by its slope."""
        error = trial.value - start.value - self.slope_rtol * trial.stepsize * start.slope
        if self.approx_dec_rtol is not None:
            rise = trial.value - start.value - self.approx_dec_rtol * abs(start.value)
            error = gnp.minimum(gnp.maximum(trial.slope - (2 * self.slope_rtol - 1.0) * start.slope, rise), error)
        return _violation(error)

    def _curvature_error(self, trial: Trial, start: Trial) -> Any:
        """By how much the slope fails to shrink: (3.7b)."""
        return _violation(abs(trial.slope) - self.curv_rtol * abs(start.slope))


def _violation(error: Any) -> Any:
    """What exceeds zero; a nan counts as infinite."""
    return gnp.where(gnp.isnan(error), np.inf, gnp.maximum(error, 0.0))


def _bracket(previous: Trial, trial: Trial, decrease: Any, count: int) -> Interval | None:
    """The interval between two trials, if a good step lies there (algorithm 3.5)."""
    if decrease > 0 or (count > 1 and trial.value >= previous.value):
        return Interval(previous, trial, previous)
    return Interval(trial, previous, trial) if trial.slope >= 0 else None


def _narrowed(interval: Interval, trial: Trial, decrease: Any) -> Interval:
    """The part of the interval in which a good step lies (algorithm 3.6)."""
    low, high, _ = interval
    if decrease > 0 or trial.value >= low.value:
        return Interval(low, trial, high)
    if trial.slope * (high.stepsize - low.stepsize) >= 0:
        return Interval(trial, low, high)
    return Interval(trial, high, low)


def _interpolated(interval: Interval) -> Any:
    """The next step to try: the minimum of a cubic, else of a parabola, if well inside, else the middle."""
    low, high, _ = interval
    left, right = gnp.minimum(low.stepsize, high.stepsize), gnp.maximum(low.stepsize, high.stepsize)
    width = right - left
    for minimum, margin in ((_cubic_minimum(interval), 0.2 * width), (_quadratic_minimum(interval), 0.1 * width)):
        if left + margin < minimum and minimum < right - margin:
            return minimum
    return (low.stepsize + high.stepsize) / 2.0


def _cubic_minimum(interval: Interval) -> Any:
    """Of the cubic through all three points with the slope at ``low``; nan if it has none."""
    low, high, ref = interval
    db, dc = high.stepsize - low.stepsize, ref.stepsize - low.stepsize
    rest_b, rest_c = (p.value - low.value - low.slope * d for p, d in ((high, db), (ref, dc)))
    scale = (db * dc) ** 2 * (db - dc)
    a = (dc**2 * rest_b - db**2 * rest_c) / scale
    b = (db**3 * rest_c - dc**3 * rest_b) / scale
    return low.stepsize + (-b + gnp.sqrt(b * b - 3.0 * a * low.slope)) / (3.0 * a)


def _quadratic_minimum(interval: Interval) -> Any:
    """Of the parabola through both ends with the slope at ``low``."""
    low, high, _ = interval
    db = high.stepsize - low.stepsize
    return low.stepsize - low.slope / (2.0 * ((high.value - low.value - low.slope * db) / db**2))


def _compiled(value_fn: Callable[..., Any]) -> Callable[..., Any]:
    return jit(value_and_grad(value_fn))


def _required(extra_args: dict[str, Any], name: str) -> Any:
    if name not in extra_args:
        raise TypeError(
            f"{where()}a line search needs {name}=: call "
            "update(grad, state, params, value=value, grad=grad, value_fn=f)."
        )
    return extra_args[name]


def _with_value(state: Any) -> Any:
    """The first part of a state that has both a value and a gradient."""
    if hasattr(state, "value") and hasattr(state, "grad"):
        return state
    for part in state if isinstance(state, tuple) else ():
        found = _with_value(part)
        if found is not None:
            return found
    return None
