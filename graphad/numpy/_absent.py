"""What is said of names that `graphad.numpy` does not have."""

from __future__ import annotations

from graphad.trace import source

#: Functions of NumPy whose result has a shape that depends on values: a program of static shapes cannot have them.
_OF_UNKNOWN_SHAPE = (
    "intersect1d", "setdiff1d", "setxor1d", "trim_zeros", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values",
)  # fmt: skip


def absent(name: str) -> AttributeError:
    """The error for a name that is not there."""
    if name in _OF_UNKNOWN_SHAPE:
        return AttributeError(
            f"{source.where()}graphad.numpy has no {name}: the shape of its result depends on values. Use "
            f"np.{name}(np.asarray(x)) outside traced functions, or a mask and graphad.numpy.where."
        )
    return AttributeError(f"module 'graphad.numpy' has no attribute {name!r}")
