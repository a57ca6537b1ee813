"""Files and texts of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._create.data import array as make_array
from graphad.numpy._typing import ArrayLike
from graphad.trace.semantics import as_operand

# ---------------------------------------------------------------------------------------------------------------------
# Files


def save(file: Any, arr: ArrayLike) -> None:
    """Write an array to a file in NumPy's format.

    >>> import io, graphad.numpy as gnp
    >>> file = io.BytesIO()
    >>> gnp.save(file, gnp.arange(3)); _ = file.seek(0)
    >>> gnp.load(file)
    Array([0, 1, 2], dtype=int32)
    """
    np.save(file, np.asarray(as_operand(arr, "save")))


def savez(file: Any, *args: ArrayLike, **kwargs: ArrayLike) -> None:
    """Write several arrays to one file in NumPy's format.

    >>> import io, graphad.numpy as gnp
    >>> file = io.BytesIO()
    >>> gnp.savez(file, x=gnp.arange(3)); _ = file.seek(0)
    >>> gnp.load(file)["x"].shape
    (3,)
    """
    np.savez(
        file,
        *[np.asarray(as_operand(x, "savez")) for x in args],
        **{name: np.asarray(as_operand(x, "savez")) for name, x in kwargs.items()},  # pyright: ignore[reportArgumentType]
    )


def load(file: Any) -> Any:
    """Read what `save` wrote; of what `savez` wrote, NumPy's mapping from names to arrays.

    >>> import io, graphad.numpy as gnp
    >>> file = io.BytesIO()
    >>> gnp.save(file, gnp.ones(1)); _ = file.seek(0)
    >>> gnp.load(file)
    Array([1.], dtype=float32)
    """
    found = np.load(file)
    return make_array(found) if isinstance(found, np.ndarray) else found


# ---------------------------------------------------------------------------------------------------------------------
# Texts


def array_repr(
    arr: ArrayLike, max_line_width: int | None = None, precision: int | None = None, suppress_small: bool | None = None
) -> str:
    """How NumPy writes the values for a programmer.

    >>> import graphad.numpy as gnp
    >>> gnp.array_repr(gnp.arange(2))
    'array([0, 1], dtype=int32)'
    """
    return np.array_repr(np.asarray(arr), max_line_width, precision, suppress_small)


def array_str(
    a: ArrayLike, max_line_width: int | None = None, precision: int | None = None, suppress_small: bool | None = None
) -> str:
    """How NumPy writes the values for a reader.

    >>> import graphad.numpy as gnp
    >>> gnp.array_str(gnp.arange(2))
    '[0 1]'
    """
    return np.array_str(np.asarray(a), max_line_width, precision, suppress_small)


get_printoptions = np.get_printoptions
printoptions = np.printoptions
set_printoptions = np.set_printoptions
