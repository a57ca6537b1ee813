"""Convolutions, with axes in any order."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.lax._elementwise import check_alike
from graphad.lax._windows import Padding, paddings
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.primitives import convolution
from graphad.primitives import shape as shapes
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_dtype, cast, shape_text, with_weak


class ConvDimensionNumbers(NamedTuple):
    """Which axis is which: of the left operand and the result (batch, features, *spatial), of the filters
    (features of the result, features of the left operand, *spatial).
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


Dimensions = ConvDimensionNumbers | tuple[str, str, str] | None


def conv_dimension_numbers(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], dimension_numbers: Dimensions
) -> ConvDimensionNumbers:
    """Axes by number from axes by letter, such as ``("NHWC", "HWIO", "NHWC")``; by default NCHW and OIHW.

    >>> conv_dimension_numbers((1, 8, 8, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"))
    ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2))
    """
    rank = len(lhs_shape)
    if len(rhs_shape) != rank:
        raise ValueError(
            f"{source.where()}conv got operands of {rank} and {len(rhs_shape)} axes; it takes as many of both."
        )
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    if dimension_numbers is None:
        plain = tuple(range(rank))
        return ConvDimensionNumbers(plain, plain, plain)
    lhs, rhs, out = dimension_numbers
    spatial = [letter for letter in rhs if letter not in "OI"]
    for spec, letters in ((lhs, "NC"), (rhs, "OI"), (out, "NC")):
        if len(spec) != rank or sorted(spec) != sorted([*letters, *spatial]):
            raise ValueError(
                f"{source.where()}conv got dimension_numbers={dimension_numbers}; each has {rank} letters: "
                f"{letters[0]}, {letters[1]}, and the same spatial ones in all three."
            )
    return ConvDimensionNumbers(
        tuple([lhs.index(letter) for letter in ("N", "C", *spatial)]),
        tuple([rhs.index(letter) for letter in ("O", "I", *spatial)]),
        tuple([out.index(letter) for letter in ("N", "C", *spatial)]),
    )


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Dimensions = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: object = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Filters (``rhs``) moved over the spatial axes of ``lhs``, the products summed.

    Parameters
    ----------
    padding
        ``"SAME"``, ``"VALID"``, or (low, high) for each spatial axis.
    lhs_dilation, rhs_dilation
        The distance of the elements of the operand, and of the filters, along each spatial axis.
    dimension_numbers
        See `conv_dimension_numbers`.
    feature_group_count, batch_group_count
        The features, or the batch, of ``lhs`` fall into so many groups, each with filters of its own.
    precision
        Ignored: products are computed in the operands' dtype.

    >>> import graphad.numpy as gnp
    >>> conv_general_dilated(gnp.ones((1, 1, 5)), gnp.ones((1, 1, 3)), (1,), "SAME")
    Array([[[2., 3., 3., 3., 2.]]], dtype=float32)
    """
    del precision
    name = "lax.conv_general_dilated"
    check_alike("conv_general_dilated", (lhs, rhs))
    left, right = as_operand(lhs, name), as_operand(rhs, name)
    wanted = left.aval.dtype if preferred_element_type is None else canonical_dtype(preferred_element_type)
    if wanted.is_float and left.aval.dtype.is_float and wanted.bits > left.aval.dtype.bits:  # not rounded in between
        left, right = cast(left, wanted, left.weak_type), cast(right, wanted, right.weak_type)
    numbers = conv_dimension_numbers(left.shape, right.shape, dimension_numbers)
    x, w = gnp.transpose(left, numbers.lhs_spec), gnp.transpose(right, numbers.rhs_spec)
    rank = x.ndim - 2
    strides, gaps, dilation = (
        (1,) * rank if given is None else tuple(map(operator.index, given))
        for given in (window_strides, lhs_dilation, rhs_dilation)
    )
    for what, given in (("window_strides", strides), ("lhs_dilation", gaps), ("rhs_dilation", dilation)):
        if len(given) != rank or min(given, default=1) < 1:
            raise ValueError(f"{source.where()}{name} got {what}={given}; give a positive one for each spatial axis.")
    sides = paddings(name, x.shape[2:], w.shape[2:], strides, padding, dilation)
    padded: Any = shapes.pad(
        x, 0,
        low=(0, 0, *[lo for lo, _ in sides]), high=(0, 0, *[hi for _, hi in sides]),
        interior=(0, 0, *[g - 1 for g in gaps]),
    )  # fmt: skip
    if batch_group_count > 1:
        padded = _groups_of_the_batch(padded, batch_group_count, feature_group_count)
    groups = feature_group_count * batch_group_count
    result: Any = convolution.conv(padded, w, strides=strides, dilation=dilation, groups=groups)
    back = [0] * result.ndim
    for axis, place in enumerate(numbers.out_spec):
        back[place] = axis
    result = gnp.transpose(result, back)
    result = result if preferred_element_type is None else cast(result, wanted)
    return with_weak(result, left.weak_type and right.weak_type)


def _groups_of_the_batch(x: Any, count: int, features: int) -> Any:
    """[count * batch, channels, ...] as [batch, count * channels, ...]: so the groups are those of features."""
    if features > 1 or x.shape[0] % count:
        raise ValueError(
            f"{source.where()}lax.conv_general_dilated got batch_group_count={count} and feature_group_count="
            f"{features} for {shape_text(x)}; the batch must be a multiple, and only one count may be above 1."
        )
    batch, channels, *rest = x.shape[0] // count, *x.shape[1:]
    parts = gnp.moveaxis(gnp.reshape(x, (count, batch, channels, *rest)), 0, 1)
    return gnp.reshape(parts, (batch, count * channels, *rest))


def conv(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: Padding,
    precision: object = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """`conv_general_dilated` with axes in the default order.

    >>> import graphad.numpy as gnp
    >>> conv(gnp.ones((1, 1, 4, 4)), gnp.ones((2, 1, 3, 3)), (1, 1), "VALID").shape
    (1, 2, 2, 2)
    """
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, precision=precision, preferred_element_type=preferred_element_type
    )


def conv_with_general_padding(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: object = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """`conv_general_dilated` with axes in the default order.

    >>> import graphad.numpy as gnp
    >>> conv_with_general_padding(gnp.ones((1, 1, 4)), gnp.ones((1, 1, 2)), (1,), [(1, 0)], None, (2,)).shape
    (1, 1, 3)
    """
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation,
        precision=precision, preferred_element_type=preferred_element_type,
    )  # fmt: skip


def conv_transpose(
    lhs: ArrayLike,
    rhs: ArrayLike,
    strides: Sequence[int],
    padding: Padding,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Dimensions = None,
    transpose_kernel: bool = False,
    precision: object = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """A convolution of ``lhs`` with gaps: what gives a result ``strides`` times as long as the operand.

    ``transpose_kernel`` turns the filters round and exchanges their features: the adjoint of a convolution with them.

    >>> import graphad.numpy as gnp
    >>> conv_transpose(gnp.ones((1, 3, 1)), gnp.ones((2, 1, 1)), (2,), "SAME").shape
    (1, 6, 1)
    """
    left, right = as_operand(lhs, "lax.conv_transpose"), as_operand(rhs, "lax.conv_transpose")
    rank = left.ndim - 2
    if dimension_numbers is None:  # unlike the others, with the features last
        plain = (0, left.ndim - 1, *range(1, left.ndim - 1))
        dimension_numbers = ConvDimensionNumbers(plain, (rank + 1, rank, *range(rank)), plain)
    numbers = conv_dimension_numbers(left.shape, right.shape, dimension_numbers)
    steps = tuple(map(operator.index, strides))
    dilation = (1,) * rank if rhs_dilation is None else tuple(map(operator.index, rhs_dilation))
    sizes = [(right.shape[a] - 1) * d + 1 for a, d in zip(numbers.rhs_spec[2:], dilation, strict=True)]
    sides: Padding = padding
    if isinstance(padding, str):
        sides = [_transposed_padding(k, s, padding) for k, s in zip(sizes, steps, strict=True)]
    if transpose_kernel:
        right = gnp.swapaxes(gnp.flip(right, numbers.rhs_spec[2:]), *numbers.rhs_spec[:2])
    return conv_general_dilated(
        left, right, (1,) * rank, sides, steps, dilation, numbers,
        precision=precision, preferred_element_type=preferred_element_type,
    )  # fmt: skip


def _transposed_padding(size: int, stride: int, padding: str) -> tuple[int, int]:
    """(low, high) for a window of ``size`` such that the result is ``stride`` times as long (``SAME``), or full."""
    if padding.upper() == "SAME":
        total = size + stride - 2
        low = size - 1 if stride > size - 1 else -(-total // 2)
    elif padding.upper() == "VALID":
        total, low = size + stride - 2 + max(size - stride, 0), size - 1
    else:
        raise ValueError(f"{source.where()}lax.conv_transpose got padding={padding!r}; take 'SAME', 'VALID' or pairs.")
    return low, total - low
