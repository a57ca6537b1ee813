"""Element types by name, and what is known of them."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from graphad.ir.rounding import array_of
from graphad.ir.types import DTYPES, dtype_of
from graphad.trace.array import Array
from graphad.trace.keys import KeyType, prng_key
from graphad.trace.semantics import canonical_dtype, cast, dtype_and_weakness
from graphad.trace.semantics import result_type as promotion


class ScalarType:
    """An element type such as ``graphad.numpy.float32``: a dtype to every function, and called, a conversion to it.

    >>> import numpy as np, graphad.numpy as gnp
    >>> gnp.float32(2), gnp.zeros(1, gnp.int32).dtype == gnp.int32
    (Array(2., dtype=float32), True)
    """

    __slots__ = ("dtype",)

    def __init__(self, name: str) -> None:
        self.dtype: Final[np.dtype[Any]] = DTYPES[name].numpy

    def __call__(self, x: Any) -> Array:
        if isinstance(x, (list, tuple)):
            return Array(array_of(x, self.dtype))
        return cast(x, dtype_of(self.dtype), name=self.dtype.name)

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, (Array, np.ndarray)):  # NumPy has dtypes of these: float64, their own
            return False
        try:
            return self.dtype == np.dtype(other)  # pyright: ignore[reportCallIssue, reportArgumentType]
        except (TypeError, ValueError):
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"graphad.numpy.{self.dtype.name}"


bool_: Final = ScalarType("bool")
int8, int16, int32, int64 = map(ScalarType, ("i8", "i16", "i32", "i64"))
uint8, uint16, uint32, uint64 = map(ScalarType, ("u8", "u16", "u32", "u64"))
float16, bfloat16, float32, float64 = map(ScalarType, ("f16", "bf16", "f32", "f64"))
single, double = float32, float64
dtype: Final = np.dtype
floating = np.floating
integer = np.integer
signedinteger = np.signedinteger
unsignedinteger = np.unsignedinteger
number = np.number
inexact = np.inexact
generic = np.generic
character = np.character
complexfloating = np.complexfloating
flexible = np.flexible
object_ = np.object_


def issubdtype(dtype: Any, kind: Any) -> bool:
    """Whether an element type belongs to a kind: ``floating``, ``integer``, ``number``, or another type.

    >>> import graphad.numpy as gnp
    >>> gnp.issubdtype(gnp.bfloat16, gnp.floating)
    True
    """
    if isinstance(dtype, KeyType) or isinstance(kind, KeyType):
        return dtype is kind or (isinstance(dtype, KeyType) and isinstance(kind, type) and issubclass(prng_key, kind))
    found = np.dtype(dtype)
    abstract = isinstance(kind, type) and issubclass(kind, np.generic)
    if found.name == "bfloat16" and abstract:
        return kind in (np.floating, np.inexact, np.number, np.generic)
    return bool(np.issubdtype(found, kind if abstract else np.dtype(kind)))


def result_type(*xs: Any) -> np.dtype[Any]:
    """The dtype that arrays, numbers and dtypes are promoted to.

    >>> import graphad.numpy as gnp
    >>> gnp.result_type(gnp.arange(3), 1.0)
    dtype('float32')
    """
    typed = [Array(np.zeros((), canonical_dtype(x).numpy)) if _is_dtype(x) else x for x in xs]
    return promotion(*typed)[0].numpy


def promote_types(a: Any, b: Any) -> np.dtype[Any]:
    """The dtype that arrays of two dtypes are promoted to.

    >>> import graphad.numpy as gnp
    >>> gnp.promote_types("int32", "float32")
    dtype('float32')
    """
    return result_type(np.dtype(a), np.dtype(b))


def _is_dtype(x: Any) -> bool:
    return isinstance(x, (str, type, np.dtype, ScalarType))


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


def finfo(dtype: Any) -> Any:
    """The limits of a floating-point type: ``eps``, ``max``, ``tiny``, ...

    >>> import graphad.numpy as gnp
    >>> float(gnp.finfo(gnp.float32).eps)
    1.1920928955078125e-07
    """
    return ml_dtypes.finfo(_dtype_of(dtype))


def iinfo(dtype: Any) -> Any:
    """The limits of an integer type: ``min``, ``max``, ``bits``.

    >>> import graphad.numpy as gnp
    >>> gnp.iinfo("int8").max
    127
    """
    return np.iinfo(_dtype_of(dtype))


def _dtype_of(x: Any) -> np.dtype[Any]:
    return (
        dtype_and_weakness(x)[0].numpy if isinstance(x, (Array, np.ndarray, np.generic)) else canonical_dtype(x).numpy
    )
