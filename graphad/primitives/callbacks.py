"""Functions of the host that programs call: ``pure_callback`` and ``io_callback``.

A `HostFunction` stands in the equation; it takes and gives flat arrays (`graphad.api.callbacks` knows of containers).
A batched equation has the same function with one more level: which operands have that batch axis, and its size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from graphad.errors import CallbackError, at
from graphad.ir.graph import Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.lowering import Host
from graphad.ir.params import AVALS, HOST
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.rounding import converted
from graphad.ir.types import BY_NUMPY, Aval, DType, OperandType, aval, f32
from graphad.primitives.families import draw

Array = np.ndarray[Any, Any]
Level = tuple[tuple[bool, ...], int]  # of a batch: which operands have its axis, and its size

#: How a function of the host is called with a batch: as JAX names them.
VMAP_METHODS: Final = ("sequential", "expand_dims", "broadcast_all", "legacy_vectorized")
#: What Python numbers may become the elements of, by the kind of dtype.
_NUMBERS: Final[dict[str, type | tuple[type, ...]]] = {
    "b": bool, "i": (bool, int), "u": (bool, int), "f": (bool, int, float),
}  # fmt: skip


class HostFunction:
    """A function of the host, as an equation has it. Equal ones are of one function, called in one way.

    Parameters
    ----------
    function
        The user's.
    call
        ``call(function, arrays) -> results``, both flat.
    structure
        What ``call`` depends on: two host functions with equal ones and the same ``function`` are equal.
    name, loc
        Its name, and the user's line that calls it, for errors.
    vmap_method
        One of `VMAP_METHODS`; None: it cannot be batched.
    refusal
        Why it cannot be batched, and what to do.
    levels
        Of the batches it is called for, outermost first.
    """

    __slots__ = ("_call", "_key", "function", "levels", "loc", "refusal", "rule_name", "vmap_method")

    def __init__(
        self,
        function: Callable[..., Any],
        call: Callable[[Callable[..., Any], Sequence[Array]], Sequence[Any]],
        structure: Hashable,
        *,
        name: str,
        loc: Loc = None,
        vmap_method: str | None = None,
        refusal: str = "",
        levels: tuple[Level, ...] = (),
    ) -> None:
        self.function = function
        self.rule_name = name
        self.loc = loc
        self.vmap_method = vmap_method
        self.refusal = refusal
        self.levels = levels
        self._call = call
        self._key = (id(function), structure, vmap_method, levels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostFunction) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"@{self.rule_name}"

    def batched(self, marks: Sequence[bool], size: int) -> HostFunction:
        """The function for a batch: the operands marked have its axis in front.

        Raises
        ------
        CallbackError
            If nobody has said how it is called with one.
        """
        if self.vmap_method is None:
            raise CallbackError(at(format_loc(self.loc), self.refusal))
        return HostFunction(
            self.function, self._call, self._key[1], name=self.rule_name, loc=self.loc,
            vmap_method=self.vmap_method, refusal=self.refusal, levels=((tuple(marks), size), *self.levels),
        )  # fmt: skip

    def call(self, operands: Sequence[Any], avals: Sequence[Aval]) -> list[Array]:
        """New arrays of exactly the types ``avals``; what the user's function raises goes through.

        Raises
        ------
        TypeError
            If the function gives something else.
        """
        arrays = [_read_only(x) for x in operands]
        if not self.levels:
            return self._once(arrays, avals)
        if self.vmap_method == "sequential":
            return self._one_by_one(arrays, avals)
        if self.vmap_method == "legacy_vectorized":
            return self._once(arrays, avals)
        sizes = tuple([size for _, size in self.levels])
        spread: list[Array] = []
        for k, x in enumerate(arrays):
            axes = tuple([slice(None) if marks[k] else None for marks, _ in self.levels])
            wide = x[axes]
            if self.vmap_method == "broadcast_all":
                wide = np.broadcast_to(wide, sizes + wide.shape[len(sizes) :])
            spread.append(_read_only(wide))
        return self._once(spread, avals)

    def _one_by_one(self, arrays: Sequence[Array], avals: Sequence[Aval]) -> list[Array]:
        """One call for each element of the batch, in order."""
        sizes = tuple([size for _, size in self.levels])
        single = [aval(a.shape[len(sizes) :], a.dtype) for a in avals]
        results = [np.empty(a.shape, a.dtype.numpy) for a in avals]
        for index in np.ndindex(sizes):
            places = [
                tuple([i for i, (marks, _) in zip(index, self.levels, strict=True) if marks[k]])
                for k in range(len(arrays))
            ]
            element = [_read_only(x[place]) for x, place in zip(arrays, places, strict=True)]
            for whole, one in zip(results, self._once(element, single), strict=True):
                whole[index] = one
        return results

    def _once(self, arrays: Sequence[Array], avals: Sequence[Aval]) -> list[Array]:
        try:
            found = self._call(self.function, arrays)
        except Exception as error:
            place = format_loc(self.loc)
            error.add_note(f"in the callback {self.rule_name}{f' that {place} calls' if place else ''}")
            raise
        assert len(found) == len(avals), "the structure of the results was compared"
        return [self._checked(k, x, a) for k, (x, a) in enumerate(zip(found, avals, strict=True))]

    def _checked(self, k: int, x: Any, a: Aval) -> Array:
        """A result as an array of its own."""
        array = np.asarray(x)
        weak = isinstance(x, _NUMBERS[a.dtype.kind]) and not a.shape
        if not weak and (array.shape != a.shape or array.dtype != a.dtype.numpy):
            dtype = BY_NUMPY.get(array.dtype, array.dtype)
            message = (
                f"result {k} of the callback {self.rule_name} is {dtype}[{','.join(map(str, array.shape))}], but "
                f"result_shape_dtypes promises {a}. "
            )
            remedy = "Return an array of that shape"
            if array.shape == a.shape:
                remedy = f"Convert it: x.astype({str(a.dtype.numpy)!r})"
            raise TypeError(at(format_loc(self.loc), f"{message}{remedy}, or promise what the function returns."))
        return converted(array, a.dtype.numpy) if array.dtype != a.dtype.numpy else np.array(array, order="C")


def calls_the_host(graph: Graph) -> bool:
    """Whether an equation of ``graph``, or of its regions, calls a function of the host."""
    return any([HOST in e.primitive.params.values() or any(map(calls_the_host, e.regions)) for e in graph.eqns])


def _read_only(x: Any) -> Array:
    view = np.asarray(x).view()
    view.flags.writeable = False
    return view


def _type(*_operands: OperandType, function: HostFunction, results: tuple[Aval, ...]) -> tuple[Aval, ...]:
    sizes = tuple([size for _, size in function.levels])
    if any([a.shape[: len(sizes)] != sizes for a in results]):
        shown = ", ".join(map(repr, results))
        raise TypeError(f"the callback {function.rule_name} is called for a batch of {sizes}, but gives {shown}")
    return results


def _call(*operands: Any, function: HostFunction, results: tuple[Aval, ...]) -> list[Array]:
    return function.call(operands, results)


def _batch_of(name: str) -> Callable[..., Any]:
    def batch(size: int, batched: Sequence[bool], *operands: Any, function: Any, results: tuple[Aval, ...]) -> Any:
        wide = tuple([aval((size, *a.shape), a.dtype) for a in results])
        primitive = {"pure_callback": pure_callback, "io_callback": io_callback}[name]
        return primitive(*operands, function=function.batched(batched, size), results=wide)

    return batch


_UNKNOWN: Final = (
    "what a function of the host computes is not known here. Give the function that calls it a derivative of its own: "
    "decorate it with graphad.custom_jvp or custom_vjp, and call pure_callback in it and in its rule"
)


def _flat_call(function: Callable[..., Any], arrays: Sequence[Array]) -> Sequence[Any]:
    return function(*arrays)


def _scale_and_sum(x: Array, y: Array) -> tuple[Any, Any]:
    return (x + y).astype(x.dtype), (x.astype(bool) & y.astype(bool)).any(axis=-1)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    host = HostFunction(_scale_and_sum, _flat_call, None, name="scale_and_sum", vmap_method="broadcast_all")
    for shape in ((3,), (2, 5), (0, 2)):
        operands = draw(rng, shape, dtype), draw(rng, shape, dtype)
        yield Sample(operands, {"function": host, "results": (aval(shape, dtype), aval(shape[:-1], BY_NUMPY[_BOOL]))})


_BOOL: Final = np.dtype(bool)
_ERRORS: Final = (
    ErrorSample(
        (aval((3,), f32),),
        {
            "function": HostFunction(np.sin, _flat_call, None, name="sin", levels=(((True,), 3),)),
            "results": (aval((2,), f32),),
        },
        "for a batch of (3,)",
    ),
)

pure_callback = Primitive(
    "pure_callback",
    doc="""The results of a function of the host, which depend on the operands alone: a call that nobody reads is
    dropped, and equal calls are merged.""",
    type_rule=_type,
    numpy=_call,
    params={"function": HOST, "results": AVALS},
    nondifferentiable=_UNKNOWN,
    batch=_batch_of("pure_callback"),
    lowering=Host(),
    samples=_samples,
    errors=_ERRORS,
    multiple=True,
)

io_callback = Primitive(
    "io_callback",
    doc="""The results, if any, of a function of the host that does something: it is called as often as the program
    says, and in its order.""",
    type_rule=_type,
    numpy=_call,
    params={"function": HOST, "results": AVALS},
    nondifferentiable=_UNKNOWN,
    batch=_batch_of("io_callback"),
    lowering=Host(),
    samples=_samples,
    errors=_ERRORS,
    multiple=True,
    effect=True,
)
