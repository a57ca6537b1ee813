"""Static values as cache keys: in Python 1 == 1.0 == True and 0.0 == -0.0, but programs made for them differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence, Set
from math import copysign
from typing import Any, Final

import numpy as np

#: Types whose values have no parts, and are told apart by the type.
_PLAIN: Final = frozenset((int, bool, str, bytes, type(None), type))


class StaticKey:
    """A static value whose equality also compares types and signs of zero, at every depth."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StaticKey):
            return False
        x, y = self.value, other.value
        return x is y or bool(x == y and marks(x) == marks(y))

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def marks(value: Any) -> Hashable:
    """What ``==`` ignores of ``value``: types and signs of zero, of its parts too.

    Parts are those of tuples and other immutable sequences, sets and mappings, and the fields that dataclasses compare.
    Other classes define by their ``__eq__`` what is the same.
    """
    kind = type(value)
    if kind in _PLAIN:
        return kind
    if isinstance(value, float):
        return kind, copysign(1.0, value)
    if isinstance(value, complex):
        return kind, copysign(1.0, value.real), copysign(1.0, value.imag)
    if isinstance(value, np.generic):
        return kind, value.dtype, bool(np.signbit(value)) if value.dtype.kind == "f" else None
    if isinstance(value, slice):
        return kind, marks(value.start), marks(value.stop), marks(value.step)
    if hasattr(kind, "is_signed"):  # decimal.Decimal
        return kind, value.is_signed()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return kind, tuple([marks(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare])
    if isinstance(value, Mapping):
        return kind, frozenset([(k, marks(k), marks(v)) for k, v in value.items()])
    if isinstance(value, Set):
        return kind, frozenset([(x, marks(x)) for x in value])
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, range)):
        return kind, tuple([marks(x) for x in value])
    return kind
