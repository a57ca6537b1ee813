"""Rules of linear algebra: what reads a matrix reads it as it lies, and products with it and its transpose are one."""

from __future__ import annotations

from typing import Any

from graphad.ir.ref import Ref
from graphad.passes.pattern import param, var
from graphad.passes.rewrite import RuleSet, rule
from graphad.primitives.arithmetic import add
from graphad.primitives.contract import dot_general
from graphad.primitives.layout import transpose
from graphad.primitives.linalg.triangular_solve import triangular_solve

x, y = var("x"), var("y")
perm, left, lower, transposed, unit = (param(name) for name in ("perm", "left", "lower", "transposed", "unit"))
contract, other, batch = (param(name) for name in ("contract", "other", "batch"))


def _other_triangle(
    x: Ref, y: Ref, perm: tuple[int, ...], left: bool, lower: bool, transposed: bool, unit: bool
) -> Ref | None:
    """By the other triangle of the matrices that were transposed."""
    n = len(perm)
    if perm != (*range(n - 2), n - 1, n - 2):
        return None
    return triangular_solve(x, y, left=left, lower=not lower, transposed=not transposed, unit=unit)


def _of_sum(x: Ref, y: Ref, contract: Any, other: Any, batch: Any) -> Ref | None:
    total = _with_transpose(x, contract[0], other[0], batch[0]) if contract[1] == other[1] else None
    return None if total is None else dot_general(total, y, contract=contract, batch=batch)


def _of_right_sum(x: Ref, y: Ref, contract: Any, other: Any, batch: Any) -> Ref | None:
    total = _with_transpose(y, contract[1], other[1], batch[1]) if contract[0] == other[0] else None
    return None if total is None else dot_general(x, total, contract=contract, batch=batch)


def _with_transpose(x: Ref, axes: tuple[int, ...], others: tuple[int, ...], batch: tuple[int, ...]) -> Ref | None:
    """Square matrices and their transposes, added, if products over these axes are with the one and the other."""
    if len(axes) != 1 or len(others) != 1 or axes == others or x.ndim != len(batch) + 2:
        return None
    exchanged = dict(zip((*axes, *others), (*others, *axes), strict=True))
    return add(x, transpose(x, perm=tuple([exchanged.get(a, a) for a in range(x.ndim)])))


_EXAMPLE = {"x": (3, 3), "y": (3, 2), "perm": (1, 0), "lower": True, "transposed": False, "left": True, "unit": False}
_SQUARE = {"x": (3, 3), "y": (3, 2), "contract": ((1,), (0,)), "other": ((0,), (0,)), "batch": ((), ())}
_RIGHT = {"x": (2, 4), "y": (4, 4), "contract": ((1,), (0,)), "other": ((1,), (1,)), "batch": ((), ())}
SOLUTIONS = RuleSet(
    [
        # The adjoint of x @ x.T makes such products. The sum of both matrices is rounded, and may overflow.
        rule("dot-sum-transposed",
             add(dot_general(x, y, contract=contract, batch=batch), dot_general(x, y, contract=other, batch=batch)),
             _of_sum, exact=False, examples=[_SQUARE]),
        rule("dot-sum-transposed-right",
             add(dot_general(x, y, contract=contract, batch=batch), dot_general(x, y, contract=other, batch=batch)),
             _of_right_sum, exact=False, examples=[_RIGHT]),
        rule("triangle-transposed",
             triangular_solve(transpose(x, perm=perm), y, left=left, lower=lower, transposed=transposed, unit=unit),
             _other_triangle, reorders_sums=True,
             examples=[_EXAMPLE, {**_EXAMPLE, "y": (2, 3), "left": False, "transposed": True, "unit": True}]),
    ]
)  # fmt: skip
