"""`Primitive`: all that is known of one operation, in one place, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from graphad.ir.bounded import BoundedDict
from graphad.ir.lowering import Lowering
from graphad.ir.params import NAMED, ParamKind
from graphad.ir.types import Aval, DType, OperandType


class Sample(NamedTuple):
    """One call to try a primitive on: operand arrays (or Python scalars, for literals) and params.

    ``differentiable`` is False where the point is a kink or the values are special (nan, inf): the derivative tests
    leave it out.
    """

    operands: tuple[Any, ...]
    params: Mapping[str, Any] = MappingProxyType({})
    differentiable: bool = True


class ErrorSample(NamedTuple):
    """A wrong call: operand types (or literals), params, and a piece of the message it must give."""

    operands: tuple[OperandType, ...]
    params: dict[str, Any]
    message: str


class SampleMaker(Protocol):
    """Makes samples for one dtype. Yields nothing if the primitive does not take that dtype."""

    def __call__(self, rng: np.random.Generator, dtype: DType) -> Iterator[Sample]: ...


def _run_first(eqn: Any, values: Any, run: Callable[..., Any]) -> Any:
    return run(eqn.regions[0], values)


class RegionRules(NamedTuple):
    """How a primitive with regions goes through the transforms, and is evaluated; see `graphad.primitives.control`.

    ``evaluate(eqn, values, run)`` gives the results, where ``run(region, values)`` evaluates a region.
    """

    linearize: Callable[..., Any]
    transpose: Callable[..., Any] | None
    batch: Callable[..., Any]
    evaluate: Callable[..., Any] = _run_first


PRIMITIVES: Final[dict[str, Primitive]] = {}
_REMEMBERED: Final = 4096  # applications of one type rule


@dataclass(eq=False, slots=True)
class Primitive:
    """An operation of the IR.

    Calling it emits an equation through the first operand that knows how (``__emit__``: a Ref, a Tracer, a rewrite
    pattern); without one it evaluates the NumPy reference.

    Attributes
    ----------
    name, doc
        Its name in the IR text, and what it computes.
    type_rule
        ``type_rule(*operand_types, **params) -> Aval | tuple[Aval, ...]``; raises TypeError with what and what to do.
        With regions, they come as ``regions=``.
    numpy
        The reference: ``numpy(*arrays, **params) -> array | tuple``. None for primitives with regions.
    params
        Name and kind of each param, in order.
    jvp
        A tuple with one rule ``(tangent, *operands, output, **params) -> tangent`` or None per operand, summed; or one
        rule ``(tangents, operands, outputs, **params) -> [tangent | None per output]`` (``tangents`` has None for
        zero). None: not differentiable, and ``nondifferentiable`` says why.
    linear
        The operands in which the primitive is linear.
    transpose
        ``(ct, *operands, **params)`` per linear operand (a dict operand -> rule), or one rule
        ``(cts, operands, **params) -> [ct | None per operand]``; linear operands are passed as their `Aval`.
    batch
        ``(size, batched, *operands, **params) -> output(s)`` with the batch axis leading; every output is batched.
    resolve
        Of a collective, whose first param is the name of a batch axis or a tuple of names: its batching rule where the
        axis of such a name is batched, ``(builder, name, size, batched, *operands, **params) -> (output, is batched)``.
        ``batch`` is for all other axes.
    lowering
        A `Lowering`, or ``(operand_types, params dict) -> Lowering``.
    samples, errors, tolerance
        What the generic tests run. ``tolerance`` is in units of the dtype's epsilon, relative to max(1, |reference|).
    alone
        The numbers of some results, and a reference that gives the tuple of these without computing the others.
    """

    name: str
    doc: str
    type_rule: Callable[..., Any]
    numpy: Callable[..., Any] | None
    params: Mapping[str, ParamKind] = field(default_factory=dict)
    jvp: tuple[Callable[..., Any] | None, ...] | Callable[..., Any] | None = None
    nondifferentiable: str = ""
    linear: tuple[int, ...] = ()
    transpose: Mapping[int, Callable[..., Any]] | Callable[..., Any] | None = None
    batch: Callable[..., Any] | None = None
    resolve: Callable[..., Any] | None = None
    lowering: Lowering | Callable[..., Lowering] | None = None
    samples: SampleMaker | None = None
    errors: tuple[ErrorSample, ...] = ()
    tolerance: float = 4.0
    commutative: bool = False
    elementwise: bool = False
    effect: bool = False
    multiple: bool = False
    scalars_from: int = 0
    region_rules: RegionRules | None = None
    prune: Callable[..., Any] | None = None
    alone: tuple[tuple[int, ...], Callable[..., tuple[Any, ...]]] | None = None
    _names: tuple[str, ...] = field(init=False, repr=False, default=())
    _memo: BoundedDict[Any, tuple[Aval, ...]] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.name in PRIMITIVES:
            raise ValueError(f"primitive {self.name} is registered twice")
        self._names = tuple(self.params)
        # Regions and rules hold programs and arrays, which a table of types should not keep alive.
        if self.region_rules is None and not any([kind in NAMED for kind in self.params.values()]):
            self._memo = BoundedDict(_REMEMBERED)
        PRIMITIVES[self.name] = self

    def __call__(self, *operands: Any, **params: Any) -> Any:
        values = tuple([params[n] for n in self._names]) if params else ()
        for x in operands:
            emit = getattr(x, "__emit__", None)
            if emit is not None:
                return emit(self, operands, values)
        return self.evaluate(operands, values)

    def infer(
        self, types: tuple[OperandType, ...], params: tuple[Any, ...], regions: tuple[Any, ...]
    ) -> tuple[Aval, ...]:
        """The avals of the outputs; memoised, but for primitives with regions."""
        memo = self._memo
        if memo is None:
            return self._infer(types, params, regions)
        key = (types, params)
        found = memo.get(key)
        if found is None:
            found = memo[key] = self._infer(types, params, regions)
        return found

    def _infer(
        self, types: tuple[OperandType, ...], params: tuple[Any, ...], regions: tuple[Any, ...]
    ) -> tuple[Aval, ...]:
        kwargs = dict(zip(self._names, params, strict=True))
        if regions:
            kwargs["regions"] = regions
        result = self.type_rule(*types, **kwargs)
        return (result,) if type(result) is Aval else tuple(result)

    def evaluate(self, operands: tuple[Any, ...], params: tuple[Any, ...], read: Sequence[bool] | None = None) -> Any:
        """Run the NumPy reference on arrays; results that are not ``read`` may be 0, if the others can be had alone."""
        if self.numpy is None:
            raise TypeError(f"{self.name} has regions: it is evaluated by running them")
        kept = None if read is None else self.had_alone(read)
        if read is None or kept is None:
            return self.numpy(*operands, **self.named(params))
        assert self.alone is not None
        found = dict(zip(kept, self.alone[1](*operands, **self.named(params)), strict=True))
        return [found.get(k, 0) for k in range(len(read))]

    def had_alone(self, read: Sequence[bool]) -> tuple[int, ...] | None:
        """The numbers of the results that are had without the others, if no other is read."""
        if self.alone is None or any([r for k, r in enumerate(read) if k not in self.alone[0]]):
            return None
        return self.alone[0]

    def named(self, params: tuple[Any, ...]) -> dict[str, Any]:
        """Positional params as a dict."""
        return dict(zip(self._names, params, strict=True)) if params else {}

    def lower(self, types: tuple[OperandType, ...], params: tuple[Any, ...]) -> Lowering | None:
        """The lowering of one equation."""
        lowering = self.lowering
        return lowering(types, self.named(params)) if callable(lowering) else lowering

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (_primitive_by_name, (self.name,))


def _primitive_by_name(name: str) -> Primitive:
    return PRIMITIVES[name]
