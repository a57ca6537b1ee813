"""Mixed precision: what is computed in 16 bits, and the factor that keeps small gradients from vanishing there."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.trace.pytree import Tree, flatten, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where

Precision = Literal["float16", "bfloat16"]

_LEAST: Final = 1.0
_MOST: Final = 2.0**24  # beyond, a loss of float32 itself would overflow


class LossScale(NamedTuple):
    """The factor on the loss under which gradients are computed (Micikevicius et al. 2018), part of the state.

    A step whose gradient overflows is skipped and halves it; after ``period`` good ones it doubles.

    Attributes
    ----------
    value
        The factor: a power of two, so that it rounds nothing.
    good_steps
        Steps without overflow since it changed.
    period
        After how many of these it doubles.

    Examples
    --------
    >>> scale = LossScale(8.0, period=2)
    >>> scale.adjusted(finite=False).value
    Array(4., dtype=float32)
    >>> scale.adjusted(finite=True).adjusted(finite=True).value
    Array(16., dtype=float32)
    """

    value: Any = 2.0**15
    good_steps: Any = 0
    period: Any = 2000

    def adjusted(self, finite: Any) -> LossScale:
        """The scale after a step whose loss and gradients were all ``finite``, or not."""
        value, good, period = self.typed()
        good = good + 1
        full = good >= period
        raised = gnp.where(full, gnp.minimum(value * 2, _MOST), value)
        lowered = gnp.maximum(value / 2, _LEAST)
        return LossScale(
            gnp.where(finite, raised, lowered),
            gnp.where(gnp.logical_and(finite, gnp.logical_not(full)), good, 0),
            period,
        )

    def typed(self) -> LossScale:
        """The same with arrays of the dtypes that it has in a program."""
        value, good_steps, period = self
        return LossScale(
            gnp.asarray(value, np.float32), gnp.asarray(good_steps, np.int32), gnp.asarray(period, np.int32)
        )

    @property
    def exhausted(self) -> Any:
        """It cannot be lowered further: what is not finite now is not for want of range."""
        return self.value <= _LEAST


def narrow_dtype(precision: str | None) -> np.dtype[Any] | None:
    """The dtype of ``precision``, checked."""
    if precision is None:
        return None
    if precision not in ("float16", "bfloat16"):
        raise ValueError(
            f"{where()}precision={precision!r}: it is 'float16', 'bfloat16', or None to compute in the dtypes of the "
            "parameters and the data."
        )
    return np.dtype(gnp.float16.dtype if precision == "float16" else gnp.bfloat16.dtype)


def narrowed(tree: Tree, dtype: np.dtype[Any] | None) -> Tree:
    """``tree`` with its float arrays in ``dtype``."""
    if dtype is None:
        return tree
    return tree_map(lambda x: gnp.astype(x, dtype) if as_operand(x).aval.is_float else x, tree)


def all_finite(tree: Tree) -> Any:
    """Whether no element is infinite or nan.

    >>> all_finite({"w": np.ones(2), "b": np.float32(np.inf)})
    Array(False, dtype=bool)
    """
    answer: Any = gnp.asarray(True)
    for leaf in flatten(tree)[0]:
        answer = gnp.logical_and(answer, gnp.all(gnp.isfinite(leaf)))
    return answer
