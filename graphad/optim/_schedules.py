"""Schedules: functions from the number of steps done to a learning rate. The count may be traced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphad import numpy as gnp
from graphad.optim._base import Scalar, Schedule
from graphad.trace.source import where


def constant_schedule(value: Scalar) -> Schedule:
    """The same value at every step.

    >>> constant_schedule(0.1)(1000)
    0.1
    """
    return lambda count: value


def polynomial_schedule(
    init_value: Scalar, end_value: Scalar, power: Scalar, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """From ``init_value`` to ``end_value`` within so many steps, along ``(1 - x) ** power``.

    >>> float(polynomial_schedule(1.0, 0.0, 2, transition_steps=4)(2))
    0.25
    """
    if transition_steps <= 0:
        return constant_schedule(init_value)

    def schedule(count: Any) -> Any:
        done = gnp.clip(count - transition_begin, 0, transition_steps)
        return (init_value - end_value) * (1 - done / transition_steps) ** power + end_value

    return schedule


def linear_schedule(
    init_value: Scalar, end_value: Scalar, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """Linear from ``init_value`` to ``end_value``.

    >>> float(linear_schedule(1.0, 0.0, transition_steps=4)(1))
    0.75
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def cosine_decay_schedule(
    init_value: Scalar, decay_steps: int, alpha: Scalar = 0.0, exponent: Scalar = 1.0
) -> Schedule:
    """Cosine decay from ``init_value`` to ``alpha * init_value`` (Loshchilov and Hutter 2017).

    >>> round(float(cosine_decay_schedule(1.0, decay_steps=4)(2)), 6)
    0.5
    """
    _check_positive("cosine_decay_schedule", "decay_steps", decay_steps)

    def schedule(count: Any) -> Any:
        wave = 0.5 * (1 + gnp.cos(math.pi * gnp.minimum(count, decay_steps) / decay_steps))
        return init_value * ((1 - alpha) * wave**exponent + alpha)

    return schedule


def exponential_decay(
    init_value: Scalar,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> Schedule:
    """``init_value * decay_rate ** (count / transition_steps)``; with ``staircase`` in whole powers.

    >>> float(exponential_decay(1.0, 2, 0.5)(4))
    0.25
    """
    if transition_steps <= 0 or decay_rate == 0:
        return constant_schedule(init_value)

    def schedule(count: Any) -> Any:
        done = count - transition_begin
        power = done / transition_steps
        if staircase:
            power = gnp.floor(power)
        value = gnp.where(done <= 0, init_value, init_value * gnp.power(decay_rate, power))
        if end_value is None:
            return value
        return (gnp.maximum if decay_rate < 1.0 else gnp.minimum)(value, end_value)

    return schedule


def piecewise_constant_schedule(
    init_value: Scalar, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """A value that is multiplied by a factor at each of the given steps.

    >>> [float(piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.1})(k)) for k in (1, 2, 3)]
    [1.0, 0.5, 0.5]
    """
    steps = _boundaries("piecewise_constant_schedule", boundaries_and_scales)

    def schedule(count: Any) -> Any:
        value = init_value
        for boundary, factor in steps:
            value = gnp.where(count < boundary, value, value * factor)
        return value

    return schedule


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: Scalar, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """As `piecewise_constant_schedule`, but each value is reached along a line (``"linear"``) or half a ``"cosine"``.

    >>> float(piecewise_interpolate_schedule("linear", 1.0, {4: 0.5})(2))
    0.75
    """
    if interpolate_type not in ("linear", "cosine"):
        raise ValueError(
            f"{where()}piecewise_interpolate_schedule takes 'linear' or 'cosine', got {interpolate_type!r}."
        )
    steps = _boundaries("piecewise_interpolate_schedule", boundaries_and_scales)

    def between(start: Scalar, end: Scalar, fraction: Any) -> Any:
        if interpolate_type == "linear":
            return (end - start) * fraction + start
        return end + (start - end) / 2.0 * (gnp.cos(math.pi * fraction) + 1)

    def schedule(count: Any) -> Any:
        begin, value = 0, init_value
        result = value
        for boundary, factor in steps:
            fraction = (count - begin) / max(boundary - begin, 1)
            result = gnp.where(count < begin, result, between(value, value * factor, fraction))
            begin, value = boundary, value * factor
        return gnp.where(count < begin, result, value) if steps else value

    return schedule


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to the peak, down to where it began, and on down, along lines (Smith and Topin 2017).

    >>> float(linear_onecycle_schedule(10, 1.0)(3))
    1.0
    """
    _check_positive("linear_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1.0 / div_factor,
            transition_steps: 1.0 / final_div_factor,
        },
    )


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: Scalar,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to the peak, and down to nearly nothing, along half cosines (Smith and Topin 2017).

    >>> float(cosine_onecycle_schedule(10, 1.0)(3))
    1.0
    """
    _check_positive("cosine_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule(
        "cosine",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            transition_steps: 1.0 / (div_factor * final_div_factor),
        },
    )


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; each counts from the boundary where it begins.

    >>> joined = join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 4)], [10])
    >>> float(joined(12))
    0.5
    """
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"{where()}join_schedules takes one boundary less than schedules, got {len(boundaries)} for "
            f"{len(schedules)} schedules."
        )

    def schedule(count: Any) -> Any:
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = gnp.where(count < boundary, value, following(count - boundary))
        return value

    return schedule


def warmup_constant_schedule(init_value: Scalar, peak_value: Scalar, warmup_steps: int) -> Schedule:
    """Linear warm-up to the peak, and then constant.

    >>> float(warmup_constant_schedule(0.0, 1.0, 4)(3))
    0.75
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    decay_steps: int,
    end_value: Scalar = 0.0,
    exponent: Scalar = 1.0,
) -> Schedule:
    """Linear warm-up to the peak, then cosine decay; ``decay_steps`` counts both parts.

    >>> float(warmup_cosine_decay_schedule(0.0, 1.0, 10, 100)(10))
    1.0
    """
    alpha = end_value / peak_value if peak_value else 0.0
    up = linear_schedule(init_value, peak_value, warmup_steps)
    down = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules([up, down], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: Scalar,
    peak_value: Scalar,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: Scalar | None = None,
) -> Schedule:
    """Linear warm-up to the peak, then `exponential_decay`.

    >>> float(warmup_exponential_decay_schedule(0.0, 1.0, 10, 1, 0.5)(12))
    0.25
    """
    up = linear_schedule(init_value, peak_value, warmup_steps)
    down = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([up, down], [warmup_steps])


def sgdr_schedule(cosine_kwargs: Sequence[Mapping[str, Any]]) -> Schedule:
    """`warmup_cosine_decay_schedule` again and again, with these arguments (Loshchilov and Hutter 2017).

    >>> cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 10}
    >>> float(sgdr_schedule([cycle, cycle])(12))
    1.0
    """
    boundaries: list[int] = []
    for kwargs in cosine_kwargs:
        boundaries.append((boundaries[-1] if boundaries else 0) + kwargs["decay_steps"])
    return join_schedules([warmup_cosine_decay_schedule(**kwargs) for kwargs in cosine_kwargs], boundaries[:-1])


def _boundaries(name: str, steps: Mapping[int, float] | None) -> list[tuple[int, float]]:
    negative = [factor for factor in (steps or {}).values() if factor < 0]
    if negative:
        raise ValueError(f"{where()}{name} takes factors that are not negative, got {negative[0]}.")
    return sorted((steps or {}).items())


def _check_positive(function: str, name: str, steps: int) -> None:
    if steps <= 0:
        raise ValueError(f"{where()}{function} takes a positive {name}, got {steps}.")
