"""`Graph`: a frozen, closed, ordered table of equations in single-assignment form."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from graphad.ir.loc import Loc
from graphad.ir.types import Aval, Literal

if TYPE_CHECKING:
    from graphad.ir.primitive import Primitive

Atom = int | Literal  # an operand: the number of a value, or a constant
T = TypeVar("T")


class Eqn(NamedTuple):
    """``outputs = primitive[params] inputs { regions }``."""

    primitive: Primitive
    inputs: tuple[Atom, ...]
    params: tuple[Any, ...]  # in the order of `primitive.params`
    outputs: tuple[int, ...]
    regions: tuple[Graph, ...]


class Graph:
    """A program: inputs, equations in order, outputs.

    Values are numbered densely, inputs first and then the outputs of the equations in order, so that two graphs that
    differ in names alone are equal and hash alike. Locations and the name are not part of equality.

    Attributes
    ----------
    avals
        The type of every value, by number.
    n_inputs
        Values ``0 .. n_inputs - 1`` are the inputs.
    eqns
        The equations; each defines the next values.
    outputs
        Values (inputs and repeats among them) or literals.
    weak
        One bit per output: it is weakly typed, like a Python scalar.
    locs
        The location of each equation.
    name
        The traced function's name.
    """

    __slots__ = (
        "__weakref__",
        "_effectful",
        "_hash",
        "avals",
        "eqns",
        "locs",
        "memo",
        "n_inputs",
        "name",
        "outputs",
        "weak",
    )

    def __init__(
        self,
        avals: tuple[Aval, ...],
        n_inputs: int,
        eqns: tuple[Eqn, ...],
        outputs: tuple[Atom, ...],
        weak: tuple[bool, ...] | None = None,
        locs: tuple[Loc, ...] | None = None,
        name: str = "main",
    ) -> None:
        self.avals = avals
        self.n_inputs = n_inputs
        self.eqns = eqns
        self.outputs = outputs
        self.weak = weak if weak is not None else (False,) * len(outputs)
        self.locs = locs if locs is not None else (None,) * len(eqns)
        self.name = name
        self.memo: dict[Hashable, Any] = {}  # results of transforms of this very object
        self._hash: int | None = None
        self._effectful: bool | None = None

    @property
    def in_avals(self) -> tuple[Aval, ...]:
        return self.avals[: self.n_inputs]

    @property
    def out_avals(self) -> tuple[Aval, ...]:
        return tuple([self.avals[a] if type(a) is int else a.aval for a in self.outputs])  # type: ignore[union-attr]

    @property
    def effectful(self) -> bool:
        """Some equation, or a region of one, has an effect."""
        if self._effectful is None:
            self._effectful = any(is_effectful(e) for e in self.eqns)
        return self._effectful

    def aval_of(self, atom: Atom) -> Aval:
        return self.avals[atom] if type(atom) is int else atom.aval  # type: ignore[union-attr]

    def memoize(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of ``make()``, computed once for this graph object and ``key``."""
        try:
            return self.memo[key]
        except KeyError:
            made = self.memo[key] = make()
            return made

    @property
    def values_read(self) -> frozenset[int]:
        """The numbers of all values that equations or results are made of."""
        return self.memoize("values read", self._values_read)

    def _values_read(self) -> frozenset[int]:
        atoms = [*self.outputs, *[a for eqn in self.eqns for a in eqn.inputs]]
        return frozenset([a for a in atoms if type(a) is int])

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.in_avals, self.eqns, self.outputs, self.weak))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Graph)
            and self.n_inputs == other.n_inputs
            and self.outputs == other.outputs
            and hash(self) == hash(other)
            and self.avals == other.avals
            and self.weak == other.weak
            and self.eqns == other.eqns
        )

    def __repr__(self) -> str:
        from graphad.ir.text import format_graph  # the printer needs Graph: a cycle inside this floor

        return format_graph(self)

    def _repr_html_(self) -> str:
        from graphad.ir.html import html_text  # late: only notebooks need it

        return html_text(repr(self))


def is_effectful(eqn: Eqn) -> bool:
    """An equation has an effect if its primitive or any of its regions has: it is never merged and never dropped."""
    return eqn[0].effect or any(r.effectful for r in eqn[4])
