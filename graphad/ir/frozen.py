"""Small immutable values: `Frozen`, their base, and `light`, for those that programs have by the ten thousand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, dataclass_transform

C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def light(cls: type[C]) -> type[C]:
    """A dataclass with slots that is frozen for type checkers only.

    Those that are frozen at run time set every field past their own guard and take several times as long to make: a
    tenth of the time in which straight-line programs are lowered.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True)
class Frozen:
    """What ``@dataclass(frozen=True)`` makes of a class, without compiling six methods for it.

    That takes a third of a millisecond a class, which ``import graphad`` would pay for dozens of them. Fields are the
    class's own annotations; an assigned value is the default.

    Examples
    --------
    >>> class Interval(Frozen):
    ...     low: int
    ...     high: int = 10
    >>> Interval(3), Interval(3) == Interval(low=3, high=10)
    (Interval(low=3, high=10), True)
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__match_args__
        if named or len(values) != len(fields):
            values = self._in_order(values, named)
        self.__dict__.update(zip(fields, values, strict=True))

    @classmethod
    def _in_order(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """A value for every field, with those by name and the defaults."""
        fields = cls.__match_args__
        rest = fields[len(values) :]
        if len(values) > len(fields) or not named.keys() <= set(rest):
            wrong = ", ".join([*map(repr, values), *[f"{name}={value!r}" for name, value in named.items()]])
            raise TypeError(f"{cls.__name__}({wrong}): its fields are {', '.join(fields)}")
        missing = [name for name in rest if name not in named and not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} needs {', '.join(missing)}")
        return (*values, *[named[name] if name in named else getattr(cls, name) for name in rest])

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        known = self.__dict__
        if "_hash" not in known:  # for the deep ones: a tree is asked for its hash each time it is looked up
            known["_hash"] = hash((type(self), self._values()))
        return known["_hash"]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._values())  # a hash means nothing in another process

    def __repr__(self) -> str:
        values = zip(self.__match_args__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join([f'{name}={value!r}' for name, value in values])})"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: .{name} stays {getattr(self, name, 'unset')!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: .{name} stays")
