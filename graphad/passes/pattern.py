"""Patterns: what a rewrite rule matches, written by calling primitives on variables.

>>> from graphad.primitives.elementwise import add, neg
>>> x, y = var("x"), var("y")
>>> add(x, neg(y))
add(x, neg(y))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Literal, literal

Bindings = dict[str, Any]  # Var -> Atom, Param -> the param's value


#: The head of each operand: the primitive that made it, `Literal`, or None for an input.
Heads = tuple[Any, ...]


class Matcher(Builder):
    """A builder that knows which equation defined a value."""

    __slots__ = ("makers",)

    def __init__(self) -> None:
        super().__init__()
        self.makers: dict[int, Eqn] = {}

    def heads(self, inputs: tuple[Atom, ...]) -> Heads:
        """The heads of ``inputs``, for `Op.may_match`."""
        makers = self.makers
        return tuple([Literal if type(a) is not int else makers[a][0] if a in makers else None for a in inputs])

    def maker(self, x: Atom | Ref) -> Eqn | None:
        """The equation that defines ``x``; None for inputs and literals."""
        atom = x.atom if isinstance(x, Ref) else x
        return self.makers.get(atom) if isinstance(atom, int) else None


class Pattern(ABC):
    """Something that an operand is matched against. Primitives called on one give an `Op`."""

    __slots__ = ()

    def __emit__(self, primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...], *_: Any) -> Op:
        patterns = tuple(x if isinstance(x, Pattern) else Const(x) for x in operands)
        return Op(primitive, patterns, params)

    @abstractmethod
    def match(self, atom: Atom, builder: Matcher, found: Bindings) -> bool:
        """Whether ``atom`` matches; bindings of variables are added to ``found``."""

    @abstractmethod
    def build(self, builder: Builder, found: Bindings) -> Any:
        """The term that this is, with ``found`` for its variables: a Ref, or a Python scalar."""


@dataclass(frozen=True, slots=True)
class Var(Pattern):
    """Any operand of one of ``kinds`` (letters of `DType.kind`); the same one at all occurrences of the variable."""

    name: str
    kinds: str
    constant: bool  # matches literals alone

    def match(self, atom: Atom, builder: Matcher, found: Bindings) -> bool:
        bound = found.get(self.name)
        if bound is not None:
            return type(bound) is type(atom) and bound == atom
        if self.constant and not isinstance(atom, Literal):
            return False
        dtype = builder.avals[atom].dtype if isinstance(atom, int) else atom.dtype
        if dtype.kind not in self.kinds:
            return False
        found[self.name] = atom
        return True

    def build(self, builder: Builder, found: Bindings) -> Ref:
        return Ref(builder, found[self.name])

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Const(Pattern):
    """A literal of this value, in any dtype of its kind: a float matches floats only, bitwise (0.0 is not -0.0)."""

    value: bool | int | float

    def match(self, atom: Atom, builder: Matcher, found: Bindings) -> bool:
        if not isinstance(atom, Literal):
            return False
        value, dtype = self.value, atom.dtype
        if isinstance(value, bool) is not (dtype.kind == "b") or (isinstance(value, float) and not dtype.is_float):
            return False
        if value < 0 and dtype.kind == "u":
            return False
        return literal(value, dtype) is atom

    def build(self, builder: Builder, found: Bindings) -> Any:
        return self.value

    def __repr__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Param:
    """Any value of a param; the same one at all occurrences of the variable."""

    name: str

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Op(Pattern):
    """An equation of ``primitive`` whose operands and params match."""

    primitive: Primitive
    operands: tuple[Pattern, ...]
    params: tuple[Any, ...]

    def match(self, atom: Atom, builder: Matcher, found: Bindings) -> bool:
        eqn = builder.makers.get(atom) if isinstance(atom, int) else None
        return eqn is not None and eqn[0] is self.primitive and self.match_eqn(eqn[1], eqn[2], builder, found)

    def match_eqn(self, inputs: tuple[Atom, ...], params: tuple[Any, ...], builder: Matcher, found: Bindings) -> bool:
        """As `match`, for an equation of this primitive that is not in the builder yet."""
        if len(inputs) != len(self.operands):
            return False
        for wanted, value in zip(self.params, params, strict=True):
            if isinstance(wanted, Param):
                if found.setdefault(wanted.name, value) != value:
                    return False
            elif wanted != value:
                return False
        return all(p.match(a, builder, found) for p, a in zip(self.operands, inputs, strict=True))

    def may_match(self, heads: Heads) -> bool:
        """Whether an equation of this primitive on operands with these heads can match."""
        return len(heads) == len(self.operands) and all(
            head is pattern.primitive if isinstance(pattern, Op) else head is Literal or not _is_constant(pattern)
            for pattern, head in zip(self.operands, heads, strict=True)
        )

    def build(self, builder: Builder, found: Bindings) -> Ref:
        operands = [p.build(builder, found) for p in self.operands]
        names = self.primitive.params
        values = [found[p.name] if isinstance(p, Param) else p for p in self.params]
        return self.primitive(*operands, **dict(zip(names, values, strict=True)))

    def variables(self) -> Iterator[Var | Param]:
        """The variables in it, repeats too."""
        for p in (*self.operands, *self.params):
            if isinstance(p, (Var, Param)):
                yield p
            elif isinstance(p, Op):
                yield from p.variables()

    def variants(self) -> list[Op]:
        """The pattern with the operands of commutative primitives in either order."""
        choices = [p.variants() if isinstance(p, Op) else [p] for p in self.operands]
        found: dict[str, Op] = {}
        for operands in product(*choices):
            orders = [operands, operands[::-1]] if self.primitive.commutative else [operands]
            for order in orders:
                # In a graph a literal is never the first of two operands that commute; with two literals they fold.
                if not (self.primitive.commutative and _is_constant(order[0])):
                    op = Op(self.primitive, order, self.params)
                    found.setdefault(repr(op), op)
        return list(found.values())

    def __repr__(self) -> str:
        names = self.primitive.params
        params = [f"{k}={v!r}" for k, v in zip(names, self.params, strict=True)]
        return f"{self.primitive.name}({', '.join([*map(repr, self.operands), *params])})"


def _is_constant(pattern: Pattern) -> bool:
    return isinstance(pattern, Const) or (isinstance(pattern, Var) and pattern.constant)


def var(name: str, kinds: str = "biuf") -> Var:
    """A variable for a value or a literal."""
    return Var(name, kinds, constant=False)


def const(name: str, kinds: str = "biuf") -> Var:
    """A variable for a literal."""
    return Var(name, kinds, constant=True)


def param(name: str) -> Any:
    """A variable for a param."""
    return Param(name)
