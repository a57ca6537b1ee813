"""Epilogues of matrix products: a bias for each column, relu, and rounding, computed by the product.

Where nobody but an elementwise operation reads a product, the product stores the result of the operation, if the
machine can do that (`Traits.epilogues`): this saves a pass through memory, and often a launch.

Walk of one example, ``relu(x @ w + b)``: value 3 is the product, 4 a view of ``b`` on its shape, 5 their sum, 6 the
comparison ``5 <= 0`` and 7 ``select(6, 0, 5)``. The sum is the only reader of 3: 5 becomes a product with the bias
``b``. Its readers are 6 and 7, which are relu: 7 becomes a product with bias and relu. Nobody reads 3 to 6 any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from graphad.backends.loops.ir import is_half
from graphad.backends.lower.affine import Shape, row_major
from graphad.backends.lower.definitions import (
    Bias,
    ConstantValue,
    Definition,
    FlatProgram,
    GatherValue,
    GemmValue,
    IotaValue,
    MapValue,
    ReshapeValue,
    ViewValue,
)
from graphad.backends.traits import Epilogues
from graphad.ir.graph import Atom
from graphad.ir.types import Literal, literal

#: Definitions that need not lie in a buffer: storing one for the sake of a product takes a launch of its own.
_COMPUTED: Final = (MapValue, GatherValue, IotaValue, ConstantValue)


def fuse_epilogues(flat: FlatProgram, wanted: Collection[int]) -> None:
    """Let products of ``flat`` compute what follows them; ``wanted`` are the values that are read from outside."""
    epilogues = flat.traits.epilogues
    if epilogues is not None and any(type(d) is GemmValue for d in flat.values):
        _Fuser(flat, epilogues, wanted).run()


class _Fuser:
    def __init__(self, flat: FlatProgram, epilogues: Epilogues, wanted: Collection[int]) -> None:
        self.flat = flat
        self.values = flat.values
        self.epilogues = epilogues
        self.wanted = frozenset(wanted)
        self.readers: list[list[int]] = [[] for _ in self.values]  # those that are live
        for value in range(len(self.values) - 1, -1, -1):
            if self.is_live(value):
                for a in self.values[value].operands:
                    if type(a) is int:
                        self.readers[a].append(value)

    def is_live(self, value: int) -> bool:
        return bool(self.readers[value]) or value in self.wanted

    def run(self) -> None:
        """In order: what a product has become is looked at again, as a product."""
        for value, definition in enumerate(self.values):
            if type(definition) is GemmValue and self.is_live(value):
                self.product(value, definition)

    def product(self, value: int, g: GemmValue) -> None:
        """Let a product take another shape, or compute the operation behind it, if that is one that it can."""
        last, fused = self.reshaped(value), g
        if last == value:
            readers = sorted(set(self.readers[value]))
            if value in self.wanted or not 1 <= len(readers) <= 2:
                return
            last = readers[-1]
            found = self.with_operation(g, value, last) if len(readers) == 1 else self.with_select(g, value, *readers)
            if found is None:
                return
            fused = found
        self.redefine(last, replace(fused, aval=self.values[last].aval, loc=self.values[last].loc))

    def reshaped(self, value: int) -> int:
        """The last of the views behind ``value``, each read by the next alone, that has its elements in their order."""
        found = start = last = value
        while last not in self.wanted and len(set(self.readers[last])) == 1:
            last = self.readers[last][0]
            match self.values[last]:
                case ReshapeValue(operand=operand) if operand == found:
                    found = start = last
                case ViewValue(aval=seen):
                    block = self.flat.block(last)
                    rows = zip(block.strides, row_major(seen.shape), seen.shape, strict=True)
                    in_order = not block.offset and all(s == r for s, r, n in rows if n != 1)
                    if block.value == start and in_order and seen.size == self.values[value].aval.size:
                        found = last
                case _:
                    break
        return found

    # ---- the operations

    def with_operation(self, g: GemmValue, value: int, reader: int) -> GemmValue | None:
        """``g``, which is ``value``, with an operation of one instruction."""
        operation = self.values[reader]
        if type(operation) is not MapValue:
            return None
        match _instruction(operation):
            case ("cast", _):
                return self.rounded(g, operation)
            case ("add", a, b) if a != b:
                return self.with_bias(g, b if a == value else a)
            case ("maximum", a, b) if self.is_zero(b if a == value else a):
                return self.with_relu(g)
            case _:
                return None

    def rounded(self, g: GemmValue, operation: MapValue) -> GemmValue | None:
        """``g`` rounded to the dtype of its factors; with a bias, which is of the dtype of the result, it is not."""
        factors = self.values[g.left.value].aval.dtype
        return g if is_half(factors) and operation.aval.dtype is factors and g.bias is None else None

    def with_bias(self, g: GemmValue, summand: Atom) -> GemmValue | None:
        dtype = g.aval.dtype
        if g.bias is not None or g.relu or type(summand) is not int or not self.has_columns(g):
            return None
        if is_half(dtype) and not self.epilogues.half_bias:
            return None
        block, shape = self.flat.block(summand), self.values[summand].aval.shape
        source = self.values[block.value]
        if isinstance(source, _COMPUTED) and block.value not in self.wanted:
            return None
        aligned = block.offset * dtype.bits // 8 % self.epilogues.bias_alignment == 0
        found = replace(g, bias=Bias(block.value, block.offset))
        return found if aligned and _along_columns(block.strides, shape, g.n) else None

    def with_relu(self, g: GemmValue) -> GemmValue | None:
        return replace(g, relu=True) if self.epilogues.relu and self.has_columns(g) else None

    def with_select(self, g: GemmValue, value: int, below: int, chosen: int) -> GemmValue | None:
        """``g`` with relu, if its readers are ``value <= 0`` and ``select(that, 0, value)``."""
        test, choice = self.values[below], self.values[chosen]
        if type(test) is not MapValue or type(choice) is not MapValue:
            return None
        if below in self.wanted or self.readers[below] != [chosen]:
            return None
        match _instruction(test), _instruction(choice):
            case ("le", a, zero), ("select", condition, least, b):
                is_relu = (condition, a, b) == (below, value, value) and self.is_zero(zero) and self.is_zero(least)
                return self.with_relu(g) if is_relu else None
            case _:
                return None

    def has_columns(self, g: GemmValue) -> bool:
        """Whether the machine has epilogues for so many columns."""
        return g.n > 1 or self.epilogues.one_column

    def is_zero(self, atom: Any) -> bool:
        definition = self.values[atom] if type(atom) is int else None
        number = definition.literal if type(definition) is ConstantValue else atom
        return isinstance(number, Literal) and number is literal(0.0, number.dtype)

    # ---- what changes

    def redefine(self, value: int, product: GemmValue) -> None:
        """Make ``value`` a product, and forget that what it was made of was read for its sake."""
        old, self.values[value] = self.values[value], product
        for a in product.operands:
            self.flat.uses[a] += 1  # type: ignore[index]
            self.readers[a].append(value)  # type: ignore[index]
        self.release(value, old)

    def release(self, reader: int, definition: Definition) -> None:
        for a in definition.operands:
            if type(a) is int:
                self.flat.uses[a] -= 1
                self.readers[a].remove(reader)
                if not self.is_live(a):
                    self.release(a, self.values[a])


def _instruction(operation: MapValue) -> tuple[Any, ...] | None:
    """The operator of a map of one instruction, with its operands."""
    instructions = operation.template.instructions
    if len(instructions) != 1 or operation.family is not None:
        return None
    op, _, args = instructions[0]
    return op, *[operation.inputs[a] if type(a) is int else a for a in args]


def _along_columns(strides: Shape, shape: Shape, columns: int) -> bool:
    """Whether an access moves by one from column to column, and stays from row to row."""
    reached = 1
    for stride, extent in zip(reversed(strides), reversed(shape), strict=True):
        if extent != 1 and stride != (reached if reached < columns else 0):
            return False
        reached *= extent
        if extent != 1 and reached > columns and reached // extent < columns:
            return False  # an axis holds the end of a row
    return True
