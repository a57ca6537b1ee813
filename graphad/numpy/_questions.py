"""Questions about dtypes, shapes and Python objects, and what is NumPy's own: constants, texts, files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.ir.rounding import converted
from graphad.ir.types import bf16
from graphad.numpy import _creation
from graphad.numpy._logic import equal
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, beside, canonical_dtype
from graphad.trace.semantics import broadcast_shapes as common_shape

euler_gamma = float(np.euler_gamma)
get_printoptions = np.get_printoptions
printoptions = np.printoptions
set_printoptions = np.set_printoptions
character = np.character
complexfloating = np.complexfloating
flexible = np.flexible
object_ = np.object_


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array:
    """Whether two arrays broadcast to the same elements.

    >>> import graphad.numpy as gnp
    >>> gnp.array_equiv(gnp.ones(2), gnp.ones((3, 2)))
    Array(True, dtype=bool)
    """
    x, y = beside("array_equiv", a1, a2)
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return Array(np.asarray(False))
    return equal(x, y).all()


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


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to.

    >>> import graphad.numpy as gnp
    >>> gnp.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    listed = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    try:
        return common_shape(listed, "broadcast_shapes") if listed else ()
    except TypeError as error:  # that of operators, as in JAX; this function's is NumPy's
        raise ValueError(*error.args) from None


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Whether NumPy converts one dtype to another under a rule: ``no equiv safe same_kind unsafe``.

    >>> import graphad.numpy as gnp
    >>> gnp.can_cast("int32", "float64"), gnp.can_cast("float64", "int32")
    (True, False)
    """
    return bool(np.can_cast(_dtype(from_), canonical_dtype(to).numpy, casting))  # pyright: ignore[reportArgumentType]


def _dtype(x: Any) -> np.dtype[Any]:
    return x.dtype if isinstance(x, (Array, np.ndarray)) else canonical_dtype(x).numpy


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is another one, of a kind, or any of a tuple of these.

    The kinds are ``bool``, ``signed integer``, ``unsigned integer``, ``integral``, ``real floating`` and ``numeric``.

    >>> import graphad.numpy as gnp
    >>> gnp.isdtype("float32", "real floating"), gnp.isdtype("int8", ("bool", "unsigned integer"))
    (True, False)
    """
    if isinstance(kind, tuple):
        return any([isdtype(dtype, k) for k in kind])
    found = canonical_dtype(dtype)
    kinds = {
        "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
        "complex floating": "", "numeric": "iuf",
    }  # fmt: skip
    if isinstance(kind, str) and kind in kinds:
        return found.kind in kinds[kind]
    return found is canonical_dtype(kind)


def isscalar(element: Any) -> bool:
    """Whether this is a number, or an array without axes.

    >>> import graphad.numpy as gnp
    >>> gnp.isscalar(2.0), gnp.isscalar(gnp.ones(2))
    (True, False)
    """
    return bool(np.isscalar(element)) or (isinstance(element, (Array, np.ndarray)) and not element.ndim)


def iterable(y: Any) -> bool:
    """Whether one can iterate over this.

    >>> import graphad.numpy as gnp
    >>> gnp.iterable([1]), gnp.iterable(1)
    (True, False)
    """
    return bool(np.iterable(y))


def copy(a: ArrayLike, order: str | None = None) -> Array:
    """The array: it does not change, so that a copy would be the same.

    >>> import graphad.numpy as gnp
    >>> gnp.copy(gnp.arange(2))
    Array([0, 1], dtype=int32)
    """
    if order not in (None, "K", "A", "C"):
        raise ValueError(f"{source.where()}copy got order={order!r}; arrays are row-major.")
    return _creation.array(a)


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
    return _creation.array(found) if isinstance(found, np.ndarray) else found


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Array:
    """The bytes of a buffer as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.frombuffer(bytes([1, 2]), dtype="uint8")
    Array([1, 2], dtype=uint8)
    """
    return _creation.array(np.frombuffer(buffer, canonical_dtype(dtype).numpy, count, offset))


def fromiter(iterable: Any, dtype: Any, count: int = -1) -> Array:
    """The elements of an iterable as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.fromiter((n * n for n in range(3)), int)
    Array([0, 1, 4], dtype=int32)
    """
    wanted = canonical_dtype(dtype)
    if wanted is bf16:
        return Array(converted(np.fromiter(iterable, np.float64, count), wanted.numpy))
    return Array(np.fromiter(iterable, wanted.numpy, count))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Array:
    """The numbers in a text as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.fromstring("1 2", sep=" ")
    Array([1., 2.], dtype=float32)
    """
    return Array(np.fromstring(string, canonical_dtype(dtype).numpy, count, sep=sep))
