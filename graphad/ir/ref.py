"""`Ref`: a value together with the builder it belongs to, so that primitives called on it emit equations there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphad.ir.graph import Atom, Graph
from graphad.ir.types import Aval, DType, Literal, literal

if TYPE_CHECKING:
    from graphad.ir.builder import Builder
    from graphad.ir.primitive import Primitive


class Ref:
    """A handle on ``atom`` in ``builder``. Derivative and batching rules are written over these.

    Calling a primitive on a Ref appends an equation to its builder and returns a Ref (a list of them for a primitive
    with several results). Python scalars among the operands take the dtype of the first Ref of their group.
    """

    __slots__ = ("atom", "builder")

    def __init__(self, builder: Builder, atom: Atom) -> None:
        self.builder = builder
        self.atom = atom

    @property
    def aval(self) -> Aval:
        atom = self.atom
        return self.builder.avals[atom] if type(atom) is int else atom.aval  # type: ignore[union-attr]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> DType:
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        return self.aval.ndim

    def __emit__(
        self, primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...], regions: tuple[Graph, ...] = ()
    ) -> Any:
        builder = self.builder
        atoms: list[Any] = []
        scalars = False
        for x in operands:
            if type(x) is Ref:
                if x.builder is not builder and type(x.atom) is int:
                    raise AssertionError(f"{primitive.name}: operand %{x.atom} belongs to another builder")
                atoms.append(x.atom)
            elif type(x) is Literal:
                atoms.append(x)
            elif type(x) is Aval:
                return x.__emit__(primitive)
            else:
                atoms.append(None)
                scalars = True
        if scalars:
            dtype = group_dtype(primitive, operands)
            atoms = [literal(x, dtype) if a is None else a for a, x in zip(atoms, operands, strict=True)]
        outputs = builder.emit(primitive, tuple(atoms), params, regions)
        if primitive.multiple:
            return [Ref(builder, o) for o in outputs]
        return Ref(builder, outputs[0])

    def __repr__(self) -> str:
        name = f"%{self.atom}" if type(self.atom) is int else repr(self.atom)
        return f"Ref({name}: {self.aval})"


def group_dtype(primitive: Primitive, operands: Sequence[Any]) -> DType:
    """The dtype that Python scalars among ``operands`` take: that of the first typed operand of their group."""
    for x in operands[primitive.scalars_from :]:
        if isinstance(x, (Ref, Literal)):
            return x.aval.dtype
    raise AssertionError(f"{primitive.name}: no typed operand beside the Python scalars")
