"""The origin of a nan or an infinity: traced back, element by element, to the equation that made it.

An operand is to blame for an element of a result if replacing the nan (or the infinities) of that operand by ordinary
numbers mends the element. So what is masked out, lies in another row or is only compared is never blamed, and no
knowledge of single primitives is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.evaluate import conform, evaluate
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.types import Literal
from graphad.primitives.cond import cond
from graphad.primitives.crossing import Params as ScanParams
from graphad.primitives.scan import scan
from graphad.primitives.while_loop import while_

NDArray = np.ndarray[Any, Any]
Index = tuple[int, ...]

_ORDINARY: Final = (0.5, 2.0)  # one of them is an inner point of every domain


class Origin(NamedTuple):
    """The equation, or input, that made a value nan or infinite.

    Attributes
    ----------
    value
        nan, inf or -inf.
    eqn, loc
        The equation that made it, and its location; None for an input or a constant.
    operands
        Its operands.
    place
        Which element of its result, or of the input.
    input
        The input of the graph that holds it already.
    cause
        Of a nan made of an infinity (inf - inf, 0 * inf): the origin of that.
    """

    value: float
    eqn: Eqn | None = None
    loc: Loc = None
    operands: tuple[NDArray, ...] = ()
    place: Index = ()
    input: int | None = None
    cause: Origin | None = None

    @property
    def first(self) -> Origin:
        """The first cause: of a nan made of an infinity, the origin of that."""
        cause = self.cause
        return self if cause is None or (cause.eqn is None and cause.input is None) else cause.first


#: They run their regions several times, or choose one.
_LOOPS: Final = (scan, while_, cond)


def run_regions(eqn: Eqn, operands: Sequence[Any], run: Callable[[Graph, Sequence[Any]], Any]) -> Sequence[Any]:
    """The results of an equation with regions, each of which ``run`` evaluates."""
    rules = eqn.primitive.region_rules
    assert rules is not None, "it has regions"
    return rules.evaluate(eqn, operands, run)


class Run:
    """A graph run with NumPy, every value kept.

    Parameters
    ----------
    graph, args
        The program and its arguments.
    flush
        Treat denormal numbers as zero, as compiled programs do.
    finite
        Replace infinities in arguments and constants by ordinary numbers.
    """

    def __init__(self, graph: Graph, args: Sequence[Any], *, flush: bool = False, finite: bool = False) -> None:
        self.graph = graph
        self.flush, self.finite = flush, finite
        self.owner = {o: k for k, eqn in enumerate(graph.eqns) for o in eqn.outputs}
        self.values: list[Any] = [self._given(x) for x in args]
        self.values.extend([None] * (len(graph.avals) - graph.n_inputs))
        with np.errstate(all="ignore"):
            for eqn in graph.eqns:
                for o, result in zip(eqn.outputs, self.step(eqn, self.operands(eqn)), strict=True):
                    self.values[o] = result

    @property
    def results(self) -> list[NDArray]:
        """The values of the outputs."""
        return [self.value(a) for a in self.graph.outputs]

    def value(self, atom: Atom) -> NDArray:
        """The value of an operand."""
        return self._given(atom.value) if isinstance(atom, Literal) else self.values[atom]

    def operands(self, eqn: Eqn) -> list[NDArray]:
        """The values of the operands of ``eqn``."""
        return [self.value(a) for a in eqn.inputs]

    def step(self, eqn: Eqn, operands: Sequence[Any]) -> list[NDArray]:
        """The results of ``eqn`` on other operands; those of an effect, which does nothing here, are zeros."""
        avals = [self.graph.avals[o] for o in eqn.outputs]
        if eqn.primitive.effect:
            return [np.zeros(a.shape, a.dtype.numpy) for a in avals]
        results: Any
        if eqn.regions:
            results = run_regions(eqn, operands, self._results)
        else:
            results = eqn.primitive.evaluate(tuple(operands), eqn.params)
            results = results if eqn.primitive.multiple else (results,)
        return [self._flushed(conform(r, a)) for r, a in zip(results, avals, strict=True)]

    def inside(self, eqn: Eqn, operands: Sequence[Any]) -> Run:
        """A run of the region of ``eqn``, on the operands of the equation."""
        return Run(eqn.regions[0], operands, flush=self.flush, finite=self.finite)

    def _results(self, region: Graph, values: Sequence[Any]) -> list[NDArray]:
        if not (self.flush or self.finite):
            return evaluate(region, values)
        return Run(region, values, flush=self.flush, finite=self.finite).results

    def turns(self, eqn: Eqn, operands: Sequence[Any]) -> list[Run]:
        """All runs of the regions of ``eqn``, in order."""
        runs: list[Run] = []

        def run(region: Graph, values: Sequence[Any]) -> list[NDArray]:
            runs.append(Run(region, values, flush=self.flush, finite=self.finite))
            return runs[-1].results

        run_regions(eqn, operands, run)
        return runs

    @property
    def _special(self) -> bool:
        return self.flush or self.finite

    def _given(self, x: Any) -> NDArray:
        array = np.asarray(x)
        if self.finite and _is_float(array):
            array = np.where(np.isinf(array), np.asarray(_ORDINARY[0], array.dtype), array)
        return self._flushed(array)

    def _flushed(self, array: NDArray) -> NDArray:
        if not self.flush or not _is_float(array) or array.dtype.itemsize < 4:
            return array
        return np.where(np.abs(array) < np.finfo(array.dtype).tiny, np.zeros_like(array), array)


def find_origin(run: Run, atom: Atom, index: Index) -> Origin:
    """What made the element ``index`` of ``atom`` nan or infinite."""
    with np.errstate(all="ignore"):
        return _follow(run, atom, index)


def _follow(run: Run, atom: Atom, index: Index) -> Origin:
    graph = run.graph
    while True:
        value = float(run.value(atom)[index])
        if isinstance(atom, Literal):
            return Origin(value, place=index)
        if atom not in run.owner:
            return Origin(value, place=index, input=atom)
        number = run.owner[atom]
        eqn, operands = graph.eqns[number], run.operands(graph.eqns[number])
        if eqn.regions and eqn.primitive in _LOOPS:
            found = _in_turns(run, eqn, operands, value)
            if isinstance(found, Origin):
                return found
            atom, index = found
            continue
        if eqn.regions:
            region = run.inside(eqn, operands)
            found = _outside(_follow(region, eqn.regions[0].outputs[eqn.outputs.index(atom)], index), run, eqn)
            if found.input is None or found.eqn is not None:
                return found
            atom, index = eqn.inputs[found.input], found.place
            continue
        blamed = _Blame(run, eqn, eqn.outputs.index(atom), index)
        mine = np.isnan if np.isnan(value) else np.isinf
        guilty = blamed.operand(operands, mine)
        if guilty is not None:
            atom, index = eqn.inputs[guilty[0]], guilty[1]
            continue
        by_infinity = blamed.operand(operands, np.isinf) if np.isnan(value) else None
        cause = None if by_infinity is None else _follow(run, eqn.inputs[by_infinity[0]], by_infinity[1])
        return Origin(value, eqn, graph.locs[number], tuple(operands), index, cause=cause)


def _in_turns(run: Run, eqn: Eqn, operands: Sequence[NDArray], value: float) -> Origin | tuple[Atom, Index]:
    """What made a result of a loop or branch bad: in the first turn that gives something bad, or an operand."""
    mine = np.isnan if np.isnan(value) else np.isinf
    for number, turn in enumerate(run.turns(eqn, operands)):
        for atom, result in zip(turn.graph.outputs, turn.results, strict=True):
            bad = mine(result) if _is_float(result) else np.zeros(result.shape, np.bool_)
            if bad.any():
                found = _follow(turn, atom, first_of(bad))
                if found.input is None or found.eqn is not None:
                    return found
                return _operand_of(eqn, turn.graph, found.input, number, found.place)
    raise AssertionError("some turn gives what the loop gives")


def _operand_of(eqn: Eqn, region: Graph, k: int, number: int, place: Index) -> tuple[Atom, Index]:
    """The operand, and the place in it, from which input ``k`` of a region comes in run ``number``."""
    if eqn.primitive is scan:
        p = ScanParams(*eqn.params)
        turn = p.length - 1 - number if p.reverse else number
        return eqn.inputs[k], place if k < p.first_x else (turn, *place)
    if eqn.primitive is cond:
        return eqn.inputs[1 + k], place
    n_test, n_body = eqn.params
    if region is eqn.regions[0]:
        return eqn.inputs[k if k < n_test else k + n_body], place
    return eqn.inputs[n_test + k], place


def _outside(found: Origin, run: Run, eqn: Eqn) -> Origin:
    """The origin found in the region of ``eqn``; a cause that is an operand of the equation is traced further."""
    cause = found.cause
    if cause is None:
        return found
    if cause.eqn is None and cause.input is not None:
        return found._replace(cause=_follow(run, eqn.inputs[cause.input], cause.place))
    return found._replace(cause=_outside(cause, run, eqn))


class _Blame:
    """Finds the operand of an equation that is to blame for one element of its result."""

    def __init__(self, run: Run, eqn: Eqn, output: int, index: Index) -> None:
        self.run, self.eqn, self.output, self.index = run, eqn, output, index

    def operand(self, operands: Sequence[NDArray], bad: Any) -> tuple[int, Index] | None:
        """The operand whose ``bad`` elements are to blame, and one of these elements; None if none is."""
        masks = [bad(x) if _is_float(x) else np.zeros(x.shape, np.bool_) for x in operands]
        suspects = [i for i, mask in enumerate(masks) if mask.any()]
        same = np.isnan if np.isnan(self._result(operands)) else np.isinf
        for i in suspects:
            if not self._stays(operands, {i: masks[i]}, same):
                return i, self._element(operands, {}, i, masks[i], same)
        everywhere = {i: masks[i] for i in suspects}
        if len(suspects) < 2 or self._stays(operands, everywhere, same):
            return None
        for i in suspects:
            others = {j: mask for j, mask in everywhere.items() if j != i}
            if self._stays(operands, others, same):
                return i, self._element(operands, others, i, masks[i], same)
        return suspects[0], self._element(operands, {}, suspects[0], masks[suspects[0]], same)

    def _element(
        self, operands: Sequence[NDArray], cleaned: dict[int, NDArray], i: int, mask: NDArray, same: Any
    ) -> Index:
        """One element of ``mask`` that suffices to blame operand ``i``, found by bisection."""
        suspects = np.flatnonzero(mask)
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            others = mask.copy()
            others.flat[half] = False
            suspects = half if self._stays(operands, {**cleaned, i: others}, same) else suspects[len(half) :]
        return tuple([int(k) for k in np.unravel_index(int(suspects[0]), mask.shape)])

    def _stays(self, operands: Sequence[NDArray], cleaned: dict[int, NDArray], same: Any) -> bool:
        """Whether the element stays bad when those marked are replaced."""
        return all([same(self._result(_with(operands, cleaned, number))) for number in _ORDINARY])

    def _result(self, operands: Sequence[NDArray]) -> Any:
        return self.run.step(self.eqn, operands)[self.output][self.index]


def _with(operands: Sequence[NDArray], marked: dict[int, NDArray], number: float) -> list[NDArray]:
    return [np.where(marked[i], np.asarray(number, x.dtype), x) if i in marked else x for i, x in enumerate(operands)]


def _is_float(x: NDArray) -> bool:
    return x.dtype.kind in "fV"  # NumPy has no kind for bfloat16


def first_of(mask: NDArray) -> Index:
    """The index of the first True."""
    return tuple([int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape)])


def finite(x: NDArray) -> bool:
    """Whether no element is nan or infinite."""
    return not _is_float(x) or bool(np.all(np.isfinite(x)))
