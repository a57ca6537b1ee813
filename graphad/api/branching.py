"""Custom rules with Python branches: such a rule is traced at the call of its function, where values are known.

The graphs of a rule (`graphad.api.rules`) are traced when a transform first needs them, from types alone, and are
shared by all calls. A rule that branches on a value raises then; it is marked as branching, and the derivative is taken
again. From then on its graphs are traced at each call that is differentiated, with the values of the call, and are
shared by calls with equal observations. The observations of the rule are guarded in the trace of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from graphad.errors import TracerBoolError
from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.types import Literal
from graphad.primitives.control import jit, slim_region
from graphad.trace.bind import Traced, as_input
from graphad.trace.guards import record
from graphad.trace.recording import Trace, state
from graphad.trace.source import user_loc

T = TypeVar("T")

#: The rules that are known to branch, by their code: the function itself may be created again in each call.
_branching: Final[WeakSet[Any]] = WeakSet()


class RuleBranchesError(TracerBoolError):
    """A rule turned out to branch on a value: take the derivative again."""


def differentiated(run: Callable[[], T]) -> T:
    """``run()``, which traces a function and takes its derivative; again where a rule turns out to branch."""
    forced = list(state.forced)
    state.derivatives += 1
    try:
        while True:
            try:
                return run()
            except RuleBranchesError:
                state.forced[:] = forced  # the second attempt repeats the observations of the first
    finally:
        state.derivatives -= 1


def note(rule: Any, error: TracerBoolError) -> TracerBoolError:
    """The error for a rule that branches where no value is known: `RuleBranchesError` if that was not known before."""
    code = _code_of(rule)
    if code in _branching or not state.derivatives:
        return error
    _branching.add(code)
    return RuleBranchesError(str(error))


def epoch() -> int:
    """A number that changes when more rules are known to branch, after which functions must be traced again."""
    return len(_branching) if state.derivatives else 0


def is_traced_here(rule: Any) -> bool:
    """Whether the rule of the function called now is to be traced for this call.

    Each order of derivatives adds one more level of rules that call functions with rules.
    """
    if not _branching or sum([t.is_rule for t in state.stack]) >= state.derivatives:
        return False
    return _code_of(rule) in _branching or state.derivatives > 1


def _code_of(rule: Any) -> Any:
    while hasattr(rule, "func"):  # functools.partial
        rule = rule.func
    code = getattr(rule, "__code__", None)
    return code if type(code) is CodeType else rule


class Predicates(NamedTuple):
    """The observations of a rule: a graph from its operands to the predicates, and their values."""

    graph: Graph
    operands: list[Any]
    expected: list[Literal]

    def guard(self, trace: Trace) -> None:
        """Guard them in ``trace``, that of the call."""
        trace.loc = user_loc(2)
        atoms = tuple([as_input(trace, x, a) for x, a in zip(self.operands, self.graph.in_avals, strict=True)])
        numbers = trace.emit(jit, atoms, (self.graph.name,), (self.graph,))
        for number, expected in zip(numbers, self.expected, strict=True):
            record(trace, number, expected)


def without_predicates(traced: Traced, operands: Sequence[Any]) -> tuple[Graph, Predicates | None]:
    """Split the graph of a rule from its predicates; ``operands`` are those of its first and last inputs."""
    graph = traced.graph
    n_results = len(graph.outputs) - len(traced.expected)
    if not traced.expected:
        return graph, None
    slim, kept = slim_region(graph, tuple([k >= n_results for k in range(len(graph.outputs))]))
    predicates = Predicates(slim, [operands[i] for i in kept], traced.expected)
    builder = Builder()
    outs = builder.inline(graph, [builder.input(a) for a in graph.in_avals])[:n_results]
    return builder.close(outs, graph.weak[:n_results], name=graph.name), predicates
