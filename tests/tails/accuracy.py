"""Where derivatives are compared with the true ones, and how far from them each may be."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
from mpmath import mp

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.primitives import elementwise as prims
from tests.tails import jets
from tests.tails.functions import Case, Reason

SPACES = {"gnp": gnp, "lax": lax, "nn": nn, "prims": prims}
ULPS = 16
#: The derivatives of a function of one and of two operands, by how often it is derived by each.
ORDERS = {1: ((1, 0), (2, 0)), 2: ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))}
TAILS = (
    0.5, 0.75, 1.25, 2.5, 3, 4, 5, 5.5, 6, 7, 8, 9.5, 12, 10, 17, 14, 26, 20, 37.4, 30, 44, 60, 80, 87, 88.5, 100, 104,
    300, 500, 700, 709, 720, 1e3,
)  # fmt: skip


def function_of(name: str) -> Any:
    """The function that is called ``nn.gelu(approximate=False)``."""
    found = re.fullmatch(r"(\w+)\.(\w+)(?:\((\w+)=(.*)\))?", name)
    function = getattr(SPACES[found[1]], found[2])
    option = {found[3]: ast.literal_eval(found[4])} if found[3] else {}
    return lambda *operands: function(*operands, **option)


# ---------------------------------------------------------------------------------------------------------------------
# Points


def points_of(case: Case, dtype: Any, step: int) -> list[tuple[float, ...]]:
    """Every ``step``-th exponent, more of them around 1, tails, infinities, and neighbours of kinks and zeros."""
    return _line(case, dtype, step) if len(case.domain) == 1 else _plane(case, dtype, step)


def _line(case: Case, dtype: Any, step: int) -> list[tuple[float]]:
    info = np.finfo(dtype)
    sizes = {np.ldexp(m, e) for e in range(info.minexp, info.maxexp, step) for m in (1.0, 1.3711)}
    fine = step < 16
    sizes |= {
        np.ldexp(m, e) for e in range(-9, 9, 1 if fine else 3) for m in (1.0, 1.1873, 1.59, 1.83)[:: 1 if fine else 2]
    }
    numbers = {float(dtype(x)) for x in (*sizes, *TAILS[:: 1 if fine else 2], float(info.max))}
    numbers |= {-x for x in numbers} | {0.0, inf, -inf}
    for kink in {*case.kinks, -1.0, 1.0} - {inf, -inf}:
        numbers |= {kink, float(np.nextafter(dtype(kink), dtype(inf))), float(np.nextafter(dtype(kink), dtype(-inf)))}
    low, high = case.domain[0]
    normal = (x for x in numbers if low <= x <= high and (x == 0 or abs(x) >= info.tiny) and x not in case.kinks)
    return [(x,) for x in sorted(normal)]


def _plane(case: Case, dtype: Any, step: int) -> list[tuple[float, float]]:
    info = np.finfo(dtype)
    sizes = {float(dtype(m * 2.0**e)) for e, m in ((-3, 1.7), (0, 1.0), (3, 1.1), (5, 1.4), (9, 1.3))}
    sizes |= {float(dtype(np.ldexp(1.3, e))) for e in range(info.minexp // 2, info.maxexp, step)}
    sizes |= {float(info.tiny), float(info.max)}
    numbers = sorted(sizes | {-x for x in sizes} | {0.0, inf, -inf})
    grid = [(x, y) for x in numbers for y in numbers]
    if 4 * step > info.maxexp:
        grid = grid[::4]  # the numbers are odd in number: each is there with every fourth of the others
    pairs = [(x, y) for x, y in grid if not abs(x) == abs(y) == inf]
    for x in (0.5, 1.0, 3.0, 100.0):
        above, below = (float(np.nextafter(dtype(x), dtype(end))) for end in (inf, -inf))
        pairs += [(x, above), (x, below), (-x, above), (above, x), (x, -below)]
    (low, high), (bottom, top) = case.domain
    return [(x, y) for x, y in pairs if low <= x <= high and bottom <= y <= top]


# ---------------------------------------------------------------------------------------------------------------------
# What is true there, what is found, and the difference


@lru_cache(None)
def _truth(case: Case, point: tuple[float, ...]) -> list[tuple[float, ...]] | None:
    """For each derivative its value, and how it changes with the logarithm of each operand; None if it has none."""
    with mp.workprec(case.bits):
        values = [jets.INFINITY * np.sign(x).item() if abs(x) == inf else mp.mpf(x) for x in point]
        try:
            jet = case.exact(*jets.variables(*values))
        except ZeroDivisionError:
            return None
        if jet is None:
            return None
        moves = [(1, 0), (0, 1)][: len(point)]
        return [
            (
                float(jet.derivative(i, j)),
                *(float(v * jet.derivative(i + a, j + b)) for v, (a, b) in zip(values, moves)),
            )
            for i, j in ORDERS[len(point)]
        ]


def derivatives(function: Any, n_operands: int) -> list[Any]:
    """The functions of arrays that give what `ORDERS` lists."""

    def total(f: Any) -> Any:
        return lambda *operands: gnp.sum(f(*operands))

    first = [graphad.grad(total(function), k) for k in range(n_operands)]
    second = [graphad.grad(total(first[i]), k) for i in range(n_operands) for k in range(i, n_operands)]
    return first + second


def differences(
    case: Case, name: str, dtype: Any, points: list[tuple[float, ...]], compiled: bool = False
) -> list[str]:
    """A line for each derivative that is farther from the truth than it may be."""
    truths = [_truth(case, point) for point in points]
    points = [p for p, t in zip(points, truths) if t is not None]
    truth = np.array([t for t in truths if t is not None])
    operands = [np.array(column, dtype) for column in zip(*points)]
    function = function_of(name)
    lines = []
    with np.errstate(all="ignore"):
        values = np.asarray(function(*operands))
        for k, f in enumerate(derivatives(function, len(operands))):
            order = ORDERS[len(operands)][k]
            got = np.asarray((graphad.jit(f) if compiled else f)(*operands)).astype(np.float64)
            wrong = _wrong(got, truth[:, k], case.reasons[sum(order) - 1], dtype, operands, values, compiled)
            lines += [
                f"{name} {order} at {points[i]}: {got[i]!r}, not {truth[i, k, 0]!r}" for i in np.flatnonzero(wrong)
            ]
    return lines


def _wrong(
    got: Any, truth: Any, reasons: tuple[Reason, ...], dtype: Any, operands: list[Any], values: Any, flushed: bool
) -> Any:
    """Which of the derivatives found are wrong. What is no normal number must be as small, or as large.

    Compiled programs flush subnormal numbers to 0 (``flushed``): also those that are then times a hundred.
    """
    info = np.finfo(dtype)
    eps, tiny, huge = float(info.eps), float(info.tiny), float(info.max)
    want, moves = truth[:, 0], np.abs(truth[:, 1:])
    allowed = ULPS * eps * np.abs(want) + (512 * tiny if flushed else 0)
    if Reason.CONDITION in reasons:
        allowed = allowed + 2 * eps * moves.sum(axis=1)
    if Reason.EXPONENT in reasons:
        exponent = np.abs(operands[1].astype(np.float64))
        allowed = allowed + eps * moves[:, 1] / np.where(exponent > 0, np.minimum(exponent, 1), 1)
    if Reason.JAX_DIGITS in reasons and dtype is np.float32:
        x = np.abs(operands[0].astype(np.float64))
        allowed = allowed + np.where(x <= 3.25, 8 * eps * np.abs(want) / (1 - np.tanh(np.minimum(x, 4))), 0)
    close = np.abs(got - want) <= allowed
    close |= (np.abs(want) - allowed <= tiny) & (np.abs(got) <= 2 * tiny + allowed)
    close |= (np.abs(want) + allowed >= huge) & (np.abs(got) >= huge / 2) & (np.sign(got) == np.sign(want))
    if Reason.RANGE in reasons:
        close |= np.isinf(values) | (np.abs(want) > huge / 8) | (np.abs(want) < 8 * tiny)
        for x in operands if len(operands) > 1 else ():
            close |= (x != 0) & ((np.abs(x) < tiny**0.5) | (np.abs(x) > huge**0.5))
    return ~close
