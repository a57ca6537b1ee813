"""A graph's derivatives compared with each other and with finite differences; its batching with a loop.

Graphs here are small, mostly of one equation. A difference is returned as a `Mismatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.check.calculus import Arrays, jvp, one_sided, quick_slopes, run, slopes
from graphad.check.origin import Index
from graphad.errors import DifferentiationError
from graphad.ir.graph import Graph
from graphad.transforms.batch import batch

NDArray = np.ndarray[Any, Any]
Forward = Callable[[Sequence[NDArray]], list[NDArray]]

_KINK: Final = 1e-3  # the least difference of one-sided slopes that is none of rounding, relative to the slope
_CLEARLY: Final = 4.0  # differences disagree if they are off by more than this times their own error


class Mismatch(NamedTuple):
    """Two numbers that should be equal.

    Attributes
    ----------
    operand
        Among the floating-point inputs, the one whose cotangent it is; None where it is an output.
    place
        Which element of that operand, or of the output.
    expected, found
        The numbers.
    is_decided
        False where the expected one is doubtful: at a kink, at the edge of a domain, beside nan.
    """

    operand: int | None
    place: Index
    expected: float
    found: float
    is_decided: bool = True


def forward_mismatch(
    graph: Graph,
    args: Arrays,
    along: Arrays,
    tolerance: float,
    *,
    mask: Sequence[bool] | None = None,
    least_scale: float = 0.0,
    values: Graph | None = None,
) -> Mismatch | None:
    """Forward mode along ``along`` against finite differences.

    Parameters
    ----------
    graph, args
        The graph, and its arguments.
    along
        A direction for every floating-point input.
    tolerance
        Relative to the largest element of the slope, and at least to ``least_scale``.
    mask
        The inputs that have tangents; ``along`` is zero at the others.
    values
        The same graph in higher precision, if there is one, for the differences.
    """
    chosen = list(along)
    if mask is not None:
        floats = [m for m, a in zip(mask, graph.in_avals, strict=True) if a.is_float]
        chosen = [t for t, m in zip(along, floats, strict=True) if m]
    found = [t.astype(np.float64) for t in jvp(graph, args, chosen, mask)]
    if values is not None:
        graph, args, along = values, *_converted(values, args, along)
    quick = quick_slopes(graph, args, along)
    if all(_is_close(f, e, tolerance, least_scale) for f, e in zip(found, quick, strict=True)):
        return None
    sides = one_sided(graph, args, along, 1e-6)
    doubtful: Mismatch | None = None
    for f, (value, error), (left, right) in zip(found, slopes(graph, args, along), sides, strict=True):
        scale = max(least_scale, _largest(value))
        with np.errstate(all="ignore"):
            off = ~(np.abs(f - value) <= tolerance * scale + _CLEARLY * error)
            off |= ~np.isfinite(error)
            at_kink = ~(np.abs(right - left) <= _KINK * max(scale, _largest(right)))
        decided = off & np.isfinite(error) & np.isfinite(value) & ~at_kink
        for where, is_decided in ((decided, True), (off, False)):
            if where.any():
                distance = np.where(where, np.nan_to_num(np.abs(f - value), nan=np.inf), -1.0)
                place = index_of(int(np.argmax(distance)), value.shape)
                wrong = Mismatch(None, place, float(value[place]), float(f[place]), is_decided)
                if is_decided:
                    return wrong
                doubtful = doubtful or wrong
    return doubtful


def reverse_mismatch(
    forward: Forward, pulled: Arrays, along: Arrays, cts: Arrays, tolerance: float, least_scale: float = 0.0
) -> Mismatch | None:
    """<J t, ct> = <t, ct J> for each operand; where that fails, the element.

    Parameters
    ----------
    forward
        The derivative along directions, one per floating-point operand.
    pulled
        The result of reverse mode for the cotangents ``cts``, one array per operand.
    along
        A direction in each operand.
    tolerance
        Relative to the sum of magnitudes, and at least to ``least_scale``.
    """

    def pushed(operand: int, direction: NDArray) -> tuple[float, float]:
        alone = [direction if i == operand else np.zeros_like(t) for i, t in enumerate(along)]
        products = [(y * c).astype(np.float64) for y, c in zip(forward(alone), cts, strict=True)]
        return sum(float(p.sum()) for p in products), sum(float(np.abs(p).sum()) for p in products)

    for operand, (t, back) in enumerate(zip(along, pulled, strict=True)):

        def gap(chosen: NDArray, operand: int = operand, t: NDArray = t, back: NDArray = back) -> tuple[float, float]:
            part = np.where(chosen, t, np.zeros_like(t))
            expected, scale = pushed(operand, part)
            return expected - float((part * back).astype(np.float64).sum()), scale

        difference, scale = gap(np.ones(t.shape, np.bool_))
        scale += float(np.abs(t * back).astype(np.float64).sum())
        if not abs(difference) <= tolerance * max(least_scale, scale):
            place = _element(gap, t.shape)
            unit = np.zeros_like(t)
            unit[place] = 1
            expected, found = pushed(operand, unit)[0], float(back[place])
            return Mismatch(operand, place, expected, found, bool(np.isfinite(expected)))
    return None


def _element(gap: Callable[[NDArray], tuple[float, float]], shape: tuple[int, ...]) -> Index:
    """The element of an operand at which the two sides differ, found by halving."""
    suspects = np.arange(int(np.prod(shape, dtype=np.int64)))
    while len(suspects) > 1:
        halves = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        gaps: list[float] = []
        for half in halves:
            chosen = np.zeros(shape, np.bool_)
            chosen.flat[half] = True
            gaps.append(abs(gap(chosen)[0]))
        suspects = halves[0] if not gaps[0] < gaps[1] else halves[1]  # nan too is a difference
    return index_of(int(suspects[0]), shape)


def batching_mismatch(
    graph: Graph, stacked: Arrays, mask: Sequence[bool], size: int, tolerance: Sequence[float]
) -> Mismatch | None:
    """``graph`` batched over the inputs in ``mask``, against a loop over the batch.

    ``tolerance`` has an entry per output: relative to max(1, the largest number in it).
    """
    made = batch(graph, mask, size, force=True)
    together = run(made.graph, stacked)
    singly = [run(graph, [x[k] if m else x for x, m in zip(stacked, mask, strict=True)]) for k in range(size)]
    for found, bound, *parts in zip(together, tolerance, *singly, strict=True):
        expected = np.stack(parts)
        if expected.dtype.kind in "biu":
            off = found != expected
        else:
            found, expected = found.astype(np.float64), expected.astype(np.float64)
            with np.errstate(all="ignore"):
                same = (found == expected) | (np.isnan(found) & np.isnan(expected))
                near = np.abs(found - expected) <= bound * np.maximum(1.0, np.abs(expected))
            off = ~(same | near)
        if off.any():
            place = index_of(int(np.argmax(off)), off.shape)
            return Mismatch(None, place, float(expected[place]), float(found[place]))
    return None


def has_forward_mode(graph: Graph, args: Arrays, along: Arrays) -> bool:
    """False of a program with a ``custom_vjp`` function in it: then there is reverse mode alone."""
    try:
        jvp(graph, args, along)
    except DifferentiationError:
        return False
    return True


def by_differences(graph: Graph, args: Arrays) -> Forward:
    """Forward mode by differences, for programs that have no other."""
    return lambda along: [s.value for s in slopes(graph, *_converted(graph, args, along))]


def _converted(graph: Graph, args: Arrays, along: Arrays) -> tuple[Arrays, Arrays]:
    """Arguments and directions in the types of the inputs."""
    floats = [a for a in graph.in_avals if a.is_float]
    return (
        [x.astype(a.dtype.numpy) for x, a in zip(args, graph.in_avals, strict=True)],
        [t.astype(a.dtype.numpy) for t, a in zip(along, floats, strict=True)],
    )


def index_of(number: int, shape: tuple[int, ...]) -> Index:
    """The index of element ``number`` of an array."""
    return tuple([int(k) for k in np.unravel_index(number, shape)])


def _is_close(found: NDArray, expected: NDArray, tolerance: float, least_scale: float) -> bool:
    scale = max(least_scale, _largest(expected))
    return bool(np.all(np.abs(found - expected) <= tolerance * scale))


def _largest(x: NDArray) -> float:
    """The largest finite number in ``x``, without its sign."""
    finite = np.abs(x[np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0
