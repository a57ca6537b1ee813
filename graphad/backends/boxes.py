"""How a call hands its arguments to a program, and gets its results: rows for what makes entries, `cpu.entry.make`.

On its own so that it costs no start-up time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Box:
    """A class of ours that holds an array in a slot, and in another slot a mark that callers tell apart by.

    Arguments of exactly this type are opened, results put into new instances, without running any of its methods.
    """

    type: type
    value_slot: str
    mark_slot: str


@dataclass(frozen=True, slots=True)
class Input:
    """One argument: a C-contiguous, aligned, native array of this dtype and shape.

    Attributes
    ----------
    plain
        Whether a NumPy array will do, or only a box.
    mark
        The object that the mark slot of a box must hold; None: any.
    scalar
        Whether a Python number of the dtype's kind will do; only for shape ``()``. If it is np.float64, a number of
        that class.
    bound
        The array itself: no argument. Such inputs come last.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    plain: bool = True
    mark: object = None
    scalar: bool | type[np.float64] = False
    bound: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One result: what is allocated, and how it is handed out.

    Attributes
    ----------
    mark
        The object for the mark slot of the box that the array comes in; None: no box.
    wrap
        A callable that the array goes through, if it comes in no box.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    mark: object = None
    wrap: Callable[[Any], Any] | None = None
