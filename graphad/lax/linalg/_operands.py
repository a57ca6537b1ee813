"""What functions of stacks of matrices ask of their operands."""

from __future__ import annotations

from typing import Any

from graphad.ir.types import f32, f64
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, shape_text


def floats(name: str, x: ArrayLike) -> Array:
    """``x`` as an operand of float32 or float64."""
    found: Any = as_operand(x, f"lax.linalg.{name}")
    if found.aval.dtype not in (f32, f64):
        raise TypeError(
            f"{source.where()}lax.linalg.{name} got {shape_text(found)}; convert it to float32 or float64 first."
        )
    return found


def matrices(name: str, x: ArrayLike, square: bool = False) -> Array:
    """``x`` as a stack of matrices of floats, square ones if so."""
    found = floats(name, x)
    if found.ndim < 2 or (square and found.shape[-1] != found.shape[-2]):
        kind = "square matrices, (..., n, n)" if square else "matrices, (..., m, n)"
        raise ValueError(f"{source.where()}lax.linalg.{name} takes {kind}, not {shape_text(found)}.")
    return found


def check_one_dtype(name: str, *xs: Any) -> None:
    """All have the dtype of the first."""
    for x in xs[1:]:
        if x.dtype != xs[0].dtype:
            raise TypeError(
                f"{source.where()}lax.linalg.{name} got {shape_text(xs[0])} and {shape_text(x)}: dtypes must be equal. "
                "Convert one of them with astype."
            )
