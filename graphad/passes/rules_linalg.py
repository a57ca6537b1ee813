"""Rules of linear algebra: what reads a matrix reads it as it lies."""

from __future__ import annotations

from graphad.ir.ref import Ref
from graphad.passes.pattern import param, var
from graphad.passes.rewrite import RuleSet, rule
from graphad.primitives.layout import transpose
from graphad.primitives.linalg.triangular_solve import triangular_solve

x, y = var("x"), var("y")
perm, left, lower, transposed, unit = (param(name) for name in ("perm", "left", "lower", "transposed", "unit"))


def _other_triangle(
    x: Ref, y: Ref, perm: tuple[int, ...], left: bool, lower: bool, transposed: bool, unit: bool
) -> Ref | None:
    """By the other triangle of the matrices that were transposed."""
    n = len(perm)
    if perm != (*range(n - 2), n - 1, n - 2):
        return None
    return triangular_solve(x, y, left=left, lower=not lower, transposed=not transposed, unit=unit)


_EXAMPLE = {"x": (3, 3), "y": (3, 2), "perm": (1, 0), "lower": True, "transposed": False, "left": True, "unit": False}
SOLUTIONS = RuleSet(
    [
        rule("triangle-transposed",
             triangular_solve(transpose(x, perm=perm), y, left=left, lower=lower, transposed=transposed, unit=unit),
             _other_triangle, reorders_sums=True,
             examples=[_EXAMPLE, {**_EXAMPLE, "y": (2, 3), "left": False, "transposed": True, "unit": True}]),
    ]
)  # fmt: skip
