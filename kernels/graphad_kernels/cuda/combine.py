"""Combinations of two values, which reductions, scans and atomic updates share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from numba.extending import register_jitable

from graphad_kernels.scalar import maximum, minimum


@register_jitable
def add(a: Any, b: Any) -> Any:
    """``a + b``."""
    return a + b


@register_jitable
def multiply(a: Any, b: Any) -> Any:
    """``a * b``."""
    return a * b


@register_jitable
def both(a: Any, b: Any) -> Any:
    """``a & b``."""
    return a & b


@register_jitable
def either(a: Any, b: Any) -> Any:
    """``a | b``."""
    return a | b


COMBINES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "sum": add,
    "prod": multiply,
    "max": maximum,
    "min": minimum,
    "and": both,
    "or": either,
}
"""Every combination by name."""
