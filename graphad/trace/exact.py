"""`Exact`: the tracer of a Python float.

Python computes with floats in float64, whatever the dtype of the arrays around them. So that the same digits come out
of a traced function, a Python float argument is carried in float64 and is rounded once, where it is used: to the dtype
of the array that it meets, or to the default dtype where it meets none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.ir.graph import Atom
from graphad.ir.types import Aval, DType, aval, f32, f64
from graphad.primitives.cast import convert
from graphad.trace.guards import observe
from graphad.trace.recording import Trace
from graphad.trace.tracer import Tracer


class Origin:
    """An argument that is a Python float, and whether a value derived exactly from it has met float64."""

    __slots__ = ("met_float64",)

    def __init__(self) -> None:
        self.met_float64 = False


class Exact(Tracer):
    """A traced Python float, or the result of Python's operators on such floats and numbers alone.

    The value in the graph is a float64 scalar; shape, dtype and weakness read as those of a Python float. Operators
    among exact scalars and numbers stay exact (`graphad.numpy` defines them); `cast` rounds once to its dtype; as the
    operand of a primitive it is rounded to the default dtype.

    Attributes
    ----------
    origins
        The arguments that it is derived from.
    """

    __slots__ = ("origins",)
    exact = True

    def __init__(self, builder: Trace, atom: Atom, origins: Sequence[Origin]) -> None:
        super().__init__(builder, atom, True)
        self.origins = tuple(origins)
        if type(atom) is int:
            builder.exact.add(atom)

    @property
    def aval(self) -> Aval:
        return aval((), f32)  # where float64 is the default, a Python float is a weak float64 like any other

    @property
    def wide(self) -> Tracer:
        """All its digits: a weak float64 tracer."""
        return Tracer(self.builder, self.atom, True)

    def cast(self, dtype: DType, weak: bool) -> Tracer:
        """Rounded once, to ``dtype``."""
        if dtype is f64:
            self.meet_float64()
            return Tracer(self.builder, self.atom, weak)
        result = convert(self.wide, dtype=dtype)
        result.weak_type = weak
        return result

    def meet_float64(self) -> None:
        """Note that the derivative by each origin has the digits of float64."""
        for origin in self.origins:
            origin.met_float64 = True

    def __bool__(self) -> bool:
        return observe(self.wide, bool)

    def __int__(self) -> int:
        return observe(self.wide, int)


def exact(result: Any, *operands: Any) -> Any:
    """The float64 result of an operator on ``operands``, as exact as they are."""
    if not isinstance(result, Tracer) or result.aval.dtype is not f64:
        return result
    origins = {o: None for x in operands if type(x) is Exact for o in x.origins}
    return Exact(result.builder, result.atom, tuple(origins))
