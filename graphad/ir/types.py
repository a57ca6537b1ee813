"""Types of the IR: dtypes, avals, literals, and dtype promotion.

Everything here is interned, so that types and literals compare by identity. The tables refer weakly to what they hold,
so that it goes when nobody uses it; those used lately are kept.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from math import prod
from typing import Any, Final
from typing import Literal as OneOf
from weakref import WeakValueDictionary

import ml_dtypes
import numpy as np

from graphad.ir import forks
from graphad.ir.bounded import BoundedDict
from graphad.ir.rounding import converted, integer_to_odd

Kind = OneOf["b", "u", "i", "f", "c"]

_RECENT: Final = 4096  # avals, and literals, that are kept alive though unused
_interning: Final = forks.leaf(threading.RLock())  # threads that race must agree on one object


class DType:
    """An element type: its IR name, its NumPy dtype and its kind.

    There is one instance per type (`f32`, `i32`, ...); compare with ``is``.
    """

    __slots__ = ("bits", "kind", "name", "numpy")

    def __init__(self, name: str, numpy: Any, kind: Kind) -> None:
        self.name: Final = name
        self.numpy: Final[np.dtype[Any]] = np.dtype(numpy)
        self.kind: Final[Kind] = kind
        self.bits: Final[int] = 8 * self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """True for the types that have tangents (real floating point)."""
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (_dtype_by_name, (self.name,))


b1: Final = DType("bool", np.bool_, "b")
i8: Final = DType("i8", np.int8, "i")
i16: Final = DType("i16", np.int16, "i")
i32: Final = DType("i32", np.int32, "i")
i64: Final = DType("i64", np.int64, "i")
u8: Final = DType("u8", np.uint8, "u")
u16: Final = DType("u16", np.uint16, "u")
u32: Final = DType("u32", np.uint32, "u")
u64: Final = DType("u64", np.uint64, "u")
f16: Final = DType("f16", np.float16, "f")
bf16: Final = DType("bf16", ml_dtypes.bfloat16, "f")
f32: Final = DType("f32", np.float32, "f")
f64: Final = DType("f64", np.float64, "f")

DTYPES: Final[dict[str, DType]] = {d.name: d for d in (b1, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64)}
_LISTED: Final = ", ".join(str(d.numpy) for d in DTYPES.values())
BY_NUMPY: Final[dict[np.dtype[Any], DType]] = {d.numpy: d for d in DTYPES.values()}


def _dtype_by_name(name: str) -> DType:
    return DTYPES[name]


def dtype_of(x: Any) -> DType:
    """The `DType` of a DType, a NumPy dtype (any byte order) or anything ``np.dtype`` takes.

    Raises
    ------
    TypeError
        For element types that graphad has no arithmetic for (complex, strings, objects).

    Examples
    --------
    >>> dtype_of("float32"), dtype_of(np.int64)
    (f32, i64)
    """
    if type(x) is DType:
        return x
    found = BY_NUMPY.get(x) if isinstance(x, np.dtype) else DTYPES.get(x) if isinstance(x, str) else None
    if found is not None:
        return found
    try:
        dtype = np.dtype(x)
    except TypeError:
        raise TypeError(f"{x!r} is no dtype; graphad computes with {_LISTED}.") from None
    found = BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        raise TypeError(
            f"dtype {dtype} is not supported; graphad computes with {_LISTED}. "
            "Convert the array first, e.g. np.asarray(x, np.float32)."
        )
    return found


class ValueWantedError(TypeError):
    """A rule computes with an operand of which it is given the type alone: one that is to be transposed."""


#: Stands for the length of a loop that is known only when it runs, in shapes and params inside a ``counted`` equation.
#: It is a number that no array has as an extent; text writes it ``n``.
EXTENT: Final = 1 << 40


class Aval:
    """Abstract value: a shape and a dtype. Make one with `aval`, which interns."""

    __slots__ = ("__weakref__", "dtype", "is_float", "ndim", "shape", "size")

    shape: tuple[int, ...]
    dtype: DType
    ndim: int
    size: int
    is_float: bool

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(['n' if d == EXTENT else str(d) for d in self.shape])}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return (aval, (self.shape, self.dtype))

    def __emit__(self, primitive: Any, *_: Any) -> Any:
        """A rule computes with an operand of which it is given the type alone."""
        raise ValueWantedError(f"{primitive.name} was called with a type, {self}, in place of a value")


_avals: Final[WeakValueDictionary[tuple[tuple[int, ...], DType], Aval]] = WeakValueDictionary()
_recent_avals: Final[BoundedDict[tuple[tuple[int, ...], DType], Aval]] = BoundedDict(_RECENT)


def aval(shape: tuple[int, ...], dtype: DType) -> Aval:
    """The one `Aval` of this shape and dtype.

    Examples
    --------
    >>> aval((3, 4), f32), aval((3, 4), f32) is aval((3, 4), f32)
    (f32[3,4], True)
    """
    key = (shape, dtype)
    try:
        return _recent_avals[key]
    except KeyError:
        pass
    with _interning:
        found = _avals.get(key)
        if found is None:
            found = Aval()
            found.shape, found.dtype, found.ndim = shape, dtype, len(shape)
            found.size = prod(shape)
            found.is_float = dtype.is_float
            _avals[key] = found
        _recent_avals[key] = found
    return found


class LiteralType:
    """What a type rule sees in place of an `Aval` where the operand is a literal: a scalar of this dtype."""

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: DType) -> None:
        self.dtype: Final = dtype
        self.shape: Final[tuple[int, ...]] = ()

    def __repr__(self) -> str:
        return f"{self.dtype.name}[]"


_literal_types: Final[dict[DType, LiteralType]] = {d: LiteralType(d) for d in DTYPES.values()}

OperandType = Aval | LiteralType


class Literal:
    """A typed scalar constant, interned by (dtype, bits): 0.0 is not -0.0, 1 is not True, nan is nan."""

    __slots__ = ("__weakref__", "aval", "bits", "dtype", "order", "type", "value")

    value: np.generic
    dtype: DType
    aval: Aval
    type: LiteralType
    bits: bytes
    order: tuple[str, bytes]

    def item(self) -> Any:
        """The constant as a Python scalar."""
        return float(self.value) if self.dtype.is_float else self.value.item()

    def __repr__(self) -> str:
        return format_literal(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_literal_from_bits, (self.dtype, self.bits))


_literals: Final[WeakValueDictionary[tuple[DType, bytes], Literal]] = WeakValueDictionary()
_recent_literals: Final[BoundedDict[tuple[type, Any, DType], Literal]] = BoundedDict(_RECENT)


def literal(value: Any, dtype: DType) -> Literal:
    """The one `Literal` of this value, converted to ``dtype`` once: from all its digits.

    Raises
    ------
    OverflowError
        For a Python integer that an integer type does not hold.

    Examples
    --------
    >>> literal(1, f32), literal(0.0, f32) is literal(-0.0, f32)
    (1.0:f32, False)
    """
    # Equal keys of the fast table must have equal bits: zeros (two of them) and nans go the long way.
    key = (type(value), value, dtype)
    try:
        return _recent_literals[key]
    except (KeyError, TypeError):
        pass
    made = _literal_from_bits(dtype, _converted_number(value, dtype).tobytes())
    if np.ndim(value) == 0 and isinstance(value, (bool, int, float, np.generic)) and value == value and value != 0:
        _recent_literals[key] = made
    return made


def _converted_number(value: Any, dtype: DType) -> np.ndarray[Any, Any]:
    if type(value) is not int or dtype is b1:
        return converted(np.asarray(value), dtype.numpy)
    if dtype.is_integer:
        if not fits(value, dtype):
            info = np.iinfo(dtype.numpy)
            raise OverflowError(f"{value} does not fit in {dtype.numpy}, which holds {info.min} to {info.max}")
        return np.asarray(value, dtype.numpy)
    return np.asarray(float(value)) if dtype is f64 else converted(np.asarray(integer_to_odd(value)), dtype.numpy)


def fits(value: int, dtype: DType) -> bool:
    """Whether an integer type holds ``value``."""
    return -value <= 1 << (dtype.bits - 1) > value if dtype.kind == "i" else 0 <= value < 1 << dtype.bits


def _literal_from_bits(dtype: DType, bits: bytes) -> Literal:
    key = (dtype, bits)
    found = _literals.get(key)
    if found is None:
        scalar = aval((), dtype)
        with _interning:
            found = _literals.get(key)
            if found is None:
                found = Literal()
                found.value = np.frombuffer(bits, dtype.numpy)[0]
                found.dtype, found.bits = dtype, bits
                found.aval, found.type = scalar, _literal_types[dtype]
                found.order = (dtype.name, bits)
                _literals[key] = found
    return found


def format_literal(lit: Literal) -> str:
    """The text of a literal, e.g. ``1.5:f32``; values without an exact decimal text print their bits."""
    dtype = lit.dtype
    if not dtype.is_float:
        return f"{lit.value.item()}:{dtype.name}"
    value = float(lit.value)
    if not np.isfinite(value):
        return f"0x{lit.bits[::-1].hex()}:{dtype.name}"
    text = repr(value) if dtype is f64 else str(lit.value)
    return f"{text}:{dtype.name}"


def parse_literal(text: str) -> Literal:
    """Inverse of `format_literal`."""
    value, _, name = text.rpartition(":")
    if name not in DTYPES or not value:
        raise ValueError(f"{text!r} is not a literal; write e.g. 1.5:f32")
    dtype = DTYPES[name]
    if value.startswith("0x"):
        return _literal_from_bits(dtype, bytes.fromhex(value[2:])[::-1])
    if dtype is b1:
        return literal({"True": True, "False": False}[value], dtype)
    return literal(float(value) if dtype.is_float else int(value), dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Promotion: the lattice of JAX's type promotion semantics (jax documentation, "Type promotion semantics").
# The nodes "int*" and "float*" are the types of Python scalars: they yield to any array dtype of their kind.

_ABOVE: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("int*",),
    "int*": ("u8", "i8"),
    "u8": ("i16", "u16"),
    "u16": ("i32", "u32"),
    "u32": ("i64", "u64"),
    "u64": ("float*",),
    "i8": ("i16",),
    "i16": ("i32",),
    "i32": ("i64",),
    "i64": ("float*",),
    "float*": ("bf16", "f16"),
    "bf16": ("f32",),
    "f16": ("f32",),
    "f32": ("f64",),
    "f64": (),
}


def _upper_bounds() -> dict[str, frozenset[str]]:
    bounds = {node: frozenset({node}) for node in _ABOVE}
    changed = True
    while changed:
        changed = False
        for node, above in _ABOVE.items():
            new = frozenset({node}).union(*(bounds[a] for a in above))
            if new != bounds[node]:
                bounds[node], changed = new, True
    return bounds


_BOUNDS: Final = _upper_bounds()
_join_cache: dict[tuple[str, ...], str] = {}


def _join(nodes: tuple[str, ...]) -> str:
    found = _join_cache.get(nodes)
    if found is None:
        common = frozenset.intersection(*(_BOUNDS[n] for n in nodes))
        # The least common bound is the one whose own bounds are all the others.
        found = next(n for n in common if _BOUNDS[n] == common)
        _join_cache[nodes] = found
    return found


def promote(dtypes: Sequence[DType], weak: Sequence[bool], default_bits: int = 32) -> tuple[DType, bool]:
    """The common dtype of operands, and whether the result is weakly typed.

    Parameters
    ----------
    dtypes, weak
        Dtype and weakness of each operand. A weak operand is a Python scalar, or computed from such alone.
    default_bits
        Width of the types that stand for "a Python int" and "a Python float" (32 or 64).

    Examples
    --------
    >>> promote([i32, f32], [False, True]), promote([f32, f64], [False, False])
    ((f32, True), (f64, False))
    """
    if all(weak):
        names = tuple(d.name for d in dtypes)  # among themselves weak types keep their widths
    else:
        names = tuple(_weak_node(d) if w else d.name for d, w in zip(dtypes, weak, strict=True))
    joined = _join(names)
    if joined == "int*":  # an integer wider than the default keeps its digits
        return DTYPES[f"i{max([default_bits, *[d.bits for d in dtypes if d.kind == 'i']])}"], True
    if joined == "float*":
        only_bools = all(w or d is b1 for d, w in zip(dtypes, weak, strict=True))
        wide = [d.bits for d in dtypes if d.is_float] if only_bools else []
        return DTYPES[f"f{max([default_bits, *wide])}"], True
    return DTYPES[joined], all(weak)


def _weak_node(dtype: DType) -> str:
    return {"b": "bool", "i": "int*", "u": "int*", "f": "float*"}[dtype.kind]


def float_bits(value: float, dtype: DType) -> int:
    """The IEEE bit pattern of ``value`` in ``dtype`` (f32 or f64) as an unsigned integer."""
    return int.from_bytes(struct.pack("<f" if dtype is f32 else "<d", value), "little")
