"""The buffers of a program, and where in them each value lies."""

from __future__ import annotations

from math import prod

from graphad.backends.loops.ir import Buffer
from graphad.backends.lower.affine import Shape, row_major
from graphad.backends.lower.definitions import InputValue
from graphad.backends.lower.nests import Anchor
from graphad.backends.lower.plan import Plan
from graphad.ir.types import Aval, DType, aval


class Storage:
    """Inputs, slots, then temporaries in the order of the program.

    Attributes
    ----------
    buffers
        All of them.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._values = plan.flat.values
        self._places: dict[int, tuple[str, Shape]] = {}
        self._temporaries = self._windows = 0
        self.buffers: list[Buffer] = []
        for number, definition in enumerate(self._values):
            if type(definition) is InputValue:
                name, aval = f"in{definition.index}", definition.aval
                self.buffers.append(Buffer(name, aval.dtype, aval.size, "input"))
                self._places[number] = (name, row_major(aval.shape))
        for slot, aval in enumerate(plan.slots):
            self.buffers.append(Buffer(slot_name(slot), aval.dtype, aval.size, "output"))
        for value, slot in plan.slot_of.items():
            self._places[value] = (slot_name(slot), row_major(self._values[value].aval.shape))
        for value, writers in plan.tree.writers.items():
            if plan.decisions.buffer_of(value) == value and value not in self._places and writers[-1].stored:
                self._add_temporary(value, writers)

    def where(self, value: int) -> tuple[str, Shape]:
        """Buffer and strides of ``value``."""
        owner = self._plan.decisions.buffer_of(value)
        name, strides = self._places[owner]
        return name, strides if owner == value else row_major(self._values[value].aval.shape)

    def _add_temporary(self, value: int, writers: list[Anchor]) -> None:
        aval: Aval = self._values[value].aval
        dropped: set[int] = set()
        if len(writers) == 1:
            # All readers are in these loops, at the same element: the buffer is contracted along them.
            (writer,) = writers
            dropped = {axis for node, axis in writer.nodes[: writer.local or 0] if not node.vector}
        shape = tuple([1 if axis in dropped else n for axis, n in enumerate(aval.shape)])
        strides = tuple([0 if axis in dropped else s for axis, s in enumerate(row_major(shape))])
        size = prod(shape)
        self._places[value] = (self._temporary(aval, size), strides)

    def window(self, dtype: DType, size: int) -> str:
        """A buffer that looks at a part of another."""
        name = f"win{self._windows}"
        self._windows += 1
        self.buffers.append(Buffer(name, dtype, size, "window"))
        return name

    def temporary(self, dtype: DType, size: int, private: bool = False) -> str:
        """A new buffer."""
        return self._temporary(aval((), dtype), size, private)

    def _temporary(self, aval: Aval, size: int, private: bool = False) -> str:
        name = f"tmp{self._temporaries}"
        self._temporaries += 1
        self.buffers.append(Buffer(name, aval.dtype, size, "temporary", private))
        return name


def slot_name(slot: int) -> str:
    """The buffer of an output."""
    return f"out{slot}"
