"""Which matrices are known to be symmetric, and what that saves: their transposes, and second products with them.

Known is what an equation says by itself: `is_symmetric` looks at how a value was made, never at numbers. Gram matrices
are symmetric, sums of a matrix and its transpose, kernels of differences, and what is computed of such by element.

Walk of one example, ``mul(dot_general(x, x), 2.0)`` with the rows of ``x`` in both places: `_Transposes` compares it
with itself. Both are made by ``mul``, so it compares their operands, in pairs. The number is the same. The factors of
the product, exchanged, give the same product, so it is its own transpose; and so is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from graphad.ir.graph import Atom, Eqn
from graphad.ir.ref import Ref
from graphad.ir.types import Literal
from graphad.passes.pattern import Matcher
from graphad.passes.rewrite import Candidate, Rewriter, RuleSet, general_rule
from graphad.primitives.contract import dot_general
from graphad.primitives.elementwise import abs_, add, div, integer_pow, mul, neg, sub
from graphad.primitives.layout import broadcast, iota, reduce_sum, transpose
from graphad.primitives.reduce import reduce_max, reduce_min

Axes = tuple[int, int]

#: How many equations deep values are compared.
_DEPTH: Final = 24


def is_symmetric(builder: Matcher, x: Atom, axes: Axes) -> bool:
    """Whether ``x`` is known to be what it is with two axes exchanged, up to the order of sums and signs of zeros."""
    return _Transposes(builder).sign(x, x, axes, _DEPTH) == 1


class _Transposes:
    """Finds out whether one value is another with two of its axes exchanged."""

    def __init__(self, builder: Matcher) -> None:
        self.builder = builder
        self.known: dict[tuple[Atom, Atom, Axes], int] = {}

    def sign(self, x: Atom, y: Atom, axes: Axes, depth: int) -> int:
        """1 if ``y`` is the transpose of ``x``, -1 if it is the negative of that, 0 if neither is known."""
        if isinstance(x, Literal) or isinstance(y, Literal):
            return int(x == y)
        key = x, y, axes
        if key not in self.known:
            self.known[key] = self._sign(x, y, axes, depth) if depth else 0
        return self.known[key]

    def _sign(self, x: int, y: int, axes: Axes, depth: int) -> int:
        a, b = self.builder.maker(x), self.builder.maker(y)
        if _exchanges(a, axes, y) or _exchanges(b, axes, x):
            return 1
        if a is None or b is None or a.primitive is not b.primitive or a.primitive.multiple:
            return 0
        i, j = axes
        shapes = [self.builder.avals[v].shape for v in (x, y)]
        if shapes[0] != shapes[1] or shapes[0][i] != shapes[0][j]:
            return 0
        if a.primitive.elementwise:
            return self._of_elements(a, b, axes, depth - 1) if a.params == b.params else 0
        if a.primitive is broadcast:
            return self._of_repeated(a, b, axes, depth - 1)
        if a.primitive in (reduce_sum, reduce_max, reduce_min) and a.params == b.params:
            kept = [k for k in range(len(shapes[0]) + len(a.params[0])) if k not in a.params[0]]
            found = self.sign(a.inputs[0], b.inputs[0], (kept[i], kept[j]), depth - 1)
            return found if a.primitive is reduce_sum else max(found, 0)
        if a.primitive is transpose and a.params == b.params:
            return self.sign(a.inputs[0], b.inputs[0], (a.params[0][i], a.params[0][j]), depth - 1)
        if a.primitive is dot_general:
            return int(_is_swapped_product(a, b, axes, len(shapes[0])))
        if a.primitive is iota:
            places = a.params[-1], b.params[-1]
            return int(places in (axes, axes[::-1]) or (places[0] == places[1] and places[0] not in axes))
        return 0

    def _of_elements(self, a: Eqn, b: Eqn, axes: Axes, depth: int) -> int:
        straight = [self.sign(x, y, axes, depth) for x, y in zip(a.inputs, b.inputs, strict=True)]
        found = _combined(a, straight)
        if found or len(a.inputs) != 2 or not (a.primitive.commutative or a.primitive is sub):
            return found
        crossed = [self.sign(x, y, axes, depth) for x, y in zip(a.inputs, b.inputs[::-1], strict=True)]
        return -_combined(a, crossed) if a.primitive is sub else _combined(a, crossed)

    def _of_repeated(self, a: Eqn, b: Eqn, axes: Axes, depth: int) -> int:
        (x,), (y,), dims, others = a.inputs, b.inputs, a.params[1], b.params[1]
        i, j = axes
        if i in dims and j in dims:
            return self.sign(x, y, (dims.index(i), dims.index(j)), depth) if dims == others else 0
        return int(x == y and tuple([{i: j, j: i}.get(d, d) for d in dims]) == others)


def _exchanges(eqn: Eqn | None, axes: Axes, x: int) -> bool:
    """Whether an equation exchanges these axes of ``x``."""
    return (
        eqn is not None
        and eqn.primitive is transpose
        and eqn.inputs[0] == x
        and _exchanged(eqn.params[0]) in (axes, axes[::-1])
    )


def _exchanged(perm: Sequence[int]) -> Axes | None:
    """The two axes that a transposition exchanges, if it does no more."""
    moved = [k for k, p in enumerate(perm) if k != p]
    return (moved[0], moved[1]) if len(moved) == 2 else None


def _combined(eqn: Eqn, signs: Sequence[int]) -> int:
    """The sign of a result of operands with ``signs``."""
    primitive = eqn.primitive
    if 0 in signs:
        return 0
    if set(signs) == {1}:
        return 1
    if primitive in (add, sub, neg):
        return signs[0] if len(set(signs)) == 1 else 0
    if primitive in (mul, div):
        return signs[0] * signs[1]
    if primitive is integer_pow:
        return signs[0] ** (eqn.params[0] % 2)
    return int(primitive is abs_)


def _is_swapped_product(a: Eqn, b: Eqn, axes: Axes, rank: int) -> bool:
    """Whether a product of matrices is another with its factors exchanged, so that its rows are the other's columns."""
    contract, batch = a.params
    of_matrices = min(axes) == rank - 2 and max(axes) == rank - 1 and len(batch[0]) == rank - 2
    return of_matrices and b.inputs == a.inputs[::-1] and b.params == (contract[::-1], batch[::-1])


@general_rule("transpose-symmetric", transpose)
def _transposed(builder: Rewriter, eqn: Candidate) -> Any:
    """The transpose of a symmetric matrix is the matrix."""
    axes = _exchanged(eqn.params[0])
    if axes is None or not is_symmetric(builder, eqn.inputs[0], axes):
        return None
    return Ref(builder, eqn.inputs[0])


@general_rule("dot-symmetric", dot_general)
def _multiplied(builder: Rewriter, eqn: Candidate) -> Any:
    """A symmetric factor is read by rows, so that products with it and with its transpose are one."""
    contract, batch = list(eqn.params[0]), eqn.params[1]
    for side, x in enumerate(eqn.inputs):
        free = [k for k in range(Ref(builder, x).ndim) if k not in (*contract[side], *batch[side])]
        if len(free) != 1 or len(contract[side]) != 1:
            continue
        (row,), (column,) = (free, contract[side]) if side == 0 else (contract[side], free)
        if row > column and is_symmetric(builder, x, (column, row)):
            contract[side] = (row,) if side == 0 else (column,)
    if tuple(contract) == eqn.params[0]:
        return None
    left, right = (Ref(builder, x) for x in eqn.inputs)
    return dot_general(left, right, contract=tuple(contract), batch=batch)


SYMMETRY: Final = RuleSet([_transposed, _multiplied])
