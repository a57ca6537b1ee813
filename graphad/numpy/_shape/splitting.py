"""Arrays taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike
from graphad.primitives import shape as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, shape_text, with_weak

Sections = int | Sequence[int]


@of_keys("x")
def split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """Cut into so many equal parts, or before the given indices.

    >>> import graphad.numpy as gnp
    >>> gnp.split(gnp.arange(4), [1, 3])
    [Array([0], dtype=int32), Array([1, 2], dtype=int32), Array([3], dtype=int32)]
    """
    x = as_operand(x, "split")
    k = canonical_axis(axis, x.ndim, "split")
    n, parts = x.shape[k], _sections(indices_or_sections)
    if parts is None:
        return _cut_before(x, k, indices_or_sections)
    if parts < 1 or n % parts:
        raise ValueError(
            f"{source.where()}split cannot cut axis {k} of {shape_text(x)} into {parts} equal parts. "
            "Write array_split, or give the indices to cut at."
        )
    return cut_at(x, k, [n // parts * i for i in range(parts + 1)])


@of_keys("x")
def array_split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """Cut into so many parts whose sizes differ by one at most, or before the given indices.

    >>> import graphad.numpy as gnp
    >>> [len(part) for part in gnp.array_split(gnp.arange(5), 2)]
    [3, 2]
    """
    x = as_operand(x, "array_split")
    k = canonical_axis(axis, x.ndim, "array_split")
    parts = _sections(indices_or_sections)
    if parts is None:
        return _cut_before(x, k, indices_or_sections)
    if parts < 1:
        raise ValueError(f"{source.where()}array_split cuts into at least one part, got {parts}.")
    each, more = divmod(x.shape[k], parts)
    return cut_at(x, k, [i * each + min(i, more) for i in range(parts + 1)])


def _sections(indices_or_sections: Any) -> int | None:
    """How many parts; None if it is indices that are given."""
    if isinstance(indices_or_sections, Sequence) or np.ndim(indices_or_sections):
        return None
    return int(indices_or_sections)


def _cut_before(x: Any, axis: int, indices: Any) -> list[Array]:
    n = x.shape[axis]
    return cut_at(x, axis, [0, *[min(max(i + n if i < 0 else i, 0), n) for i in map(int, indices)], n])


def cut_at(x: Any, axis: int, cuts: list[int]) -> list[Array]:
    return [with_weak(prims.slice_axis(x, axis, a, max(a, b)), x.weak_type) for a, b in pairwise(cuts)]


@of_keys("ary")
def hsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 1, or the only one.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.hsplit(gnp.ones((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    x = as_operand(ary, "hsplit")
    return split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


def vsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 0.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.vsplit(gnp.ones((4, 2)), 2)]
    [(2, 2), (2, 2)]
    """
    return split(ary, indices_or_sections, 0)


def dsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 2.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.dsplit(gnp.ones((1, 1, 4)), 2)]
    [(1, 1, 2), (1, 1, 2)]
    """
    return split(ary, indices_or_sections, 2)


@of_keys("x")
def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis, one by one.

    >>> import graphad.numpy as gnp
    >>> gnp.unstack(gnp.arange(2))
    (Array(0, dtype=int32), Array(1, dtype=int32))
    """
    operand = as_operand(x, "unstack")
    k = canonical_axis(axis, operand.ndim, "unstack")
    return tuple([operand[(slice(None),) * k + (i,)] for i in range(operand.shape[k])])
