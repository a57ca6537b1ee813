"""`Tracer`: the stand-in for an array while a Python function is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.errors import ConcretizationError, TracerLeakError
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref, group_dtype
from graphad.ir.types import Literal, dtype_of, literal
from graphad.trace import hints
from graphad.trace.array import Array, refuse_assignment, refuse_hash
from graphad.trace.guards import observe
from graphad.trace.interop import Dispatch
from graphad.trace.recording import Trace, leaked, lift, state
from graphad.trace.source import located, quoted, user_loc, where


class Tracer(Ref, Dispatch):
    """A stand-in for an array while a function is traced.

    It has the shape, dtype and operators of an `graphad.Array`, and is one to ``isinstance``.
    """

    __slots__ = ("weak_type",)
    is_tracer = True
    takes_over = True
    exact = False  # `graphad.trace.exact` has the tracers of Python floats
    builder: Trace

    def __init__(self, builder: Builder, atom: Atom, weak_type: bool = False) -> None:
        self.builder = builder  # type: ignore[assignment]
        self.atom = atom
        self.weak_type = weak_type

    def __emit__(
        self, primitive: Primitive, operands: Sequence[Any], params: tuple[Any, ...], regions: tuple[Graph, ...] = ()
    ) -> Any:
        stack = state.stack
        trace = stack[-1] if stack else None
        atoms: list[Any] = []
        scalars = False
        for x in operands:
            if type(x) is Tracer:
                atoms.append(x.atom if x.builder is trace or type(x.atom) is not int else lift(trace, x))
            elif type(x) is Literal:
                atoms.append(x)
            elif isinstance(x, (Array, np.ndarray)):
                atoms.append(lift(self._running(trace), x))
            else:
                atoms.append(None)
                scalars = True
        if scalars:
            dtype = _group_dtype(primitive, operands)
            atoms = [literal(x, dtype) if a is None else a for a, x in zip(atoms, operands, strict=True)]
        trace = self._running(trace)
        trace.loc = user_loc(2)
        try:
            outputs = trace.emit(primitive, tuple(atoms), params, regions)
        except (TypeError, ValueError) as error:
            raise located(error) from None
        if primitive.multiple:
            return [Tracer(trace, o) for o in outputs]
        return Tracer(trace, outputs[0]) if outputs else None

    def _running(self, trace: Trace | None) -> Trace:
        if trace is None:
            raise leaked(self)
        return trace

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.aval.dtype.numpy

    @property
    def size(self) -> int:
        return self.aval.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{where()}len() of an array without axes")
        return self.shape[0]

    def block_until_ready(self) -> Tracer:
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(where() + refuse_assignment(index))

    def __copy__(self) -> Tracer:
        return self

    def __deepcopy__(self, _memo: Any) -> Tracer:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"{where()}a tracer cannot be pickled: it has no value. Return it from the traced function.")

    # --- Python wants a number. bool, int and index are answered with a guard; the rest would cut the derivative.

    def __bool__(self) -> bool:
        return observe(self, bool)

    def __int__(self) -> int:
        return observe(self, int)

    def __index__(self) -> int:
        if not self.aval.dtype.is_integer or self.shape:
            raise TypeError(f"{where()}only integer scalars can be an index, not {self.aval}. Write int(x).")
        return self.__int__()

    def __float__(self) -> float:
        raise concretized(self, hints.FLOAT)

    def __complex__(self) -> complex:
        raise concretized(self, "complex(x)")

    def item(self, *_args: int) -> Any:
        raise concretized(self, "x.item()")

    def tolist(self) -> Any:
        raise concretized(self, "x.tolist()")

    def tobytes(self) -> Any:
        raise concretized(self, "x.tobytes()")

    def __dlpack__(self, **_options: Any) -> Any:
        raise concretized(self, "x.__dlpack__()")

    def __dlpack_device__(self) -> tuple[int, int]:
        raise concretized(self, "x.__dlpack__()")

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise concretized(self, hints.ARRAY)

    def __format__(self, spec: str) -> str:
        if spec:
            raise concretized(self, f"the format {spec!r}")
        return repr(self)

    def __repr__(self) -> str:
        weak = ", weak_type=True" if self.weak_type else ""
        return f"Tracer({self.aval}{weak}) of {self.builder.name}"


# Set from outside the class, as that of Array is.
Tracer.__hash__ = refuse_hash


def _group_dtype(primitive: Primitive, operands: Sequence[Any]) -> Any:
    for x in operands[primitive.scalars_from :]:
        if isinstance(x, (Array, np.ndarray)) and not isinstance(x, Tracer):
            return dtype_of(x.dtype)
    return group_dtype(primitive, operands)


def concretized(x: Tracer, what: str) -> ConcretizationError | TracerLeakError:
    """The error for an operation that would turn a tracer into a number."""
    if x.builder not in state.stack:
        return leaked(x)
    what, instead, loc = hints.hint(what, user_loc(2))
    return ConcretizationError(
        f"{where(loc)}{what} needs the number behind a traced value of type {x.aval}, and would cut its derivative."
        f"{quoted(loc)}{instead}"
    )
