"""Reverse mode: transposition of linear graphs.

A graph may be mixed: the part that does not depend on the linear inputs is copied, the linear part is transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad.errors import DifferentiationError, GraphadError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, ValueWantedError
from graphad.transforms.cotangents import Cotangents
from graphad.transforms.linearize import parted
from graphad.transforms.rules import checked, raised, reads_itself, rule_error


class Transposed(NamedTuple):
    """``graph``: nonlinear inputs + cotangents -> kept outputs + one cotangent per linear input that is not zero."""

    graph: Graph
    nonzero: tuple[bool, ...]  # per linear input


@without_collector
def transpose(
    graph: Graph, linear: Sequence[bool], cts: Sequence[bool | Literal], keep: Sequence[int] = ()
) -> Transposed:
    """Transpose ``graph`` with respect to the inputs marked ``linear``.

    Parameters
    ----------
    graph
        Linear in the marked inputs, given the others.
    linear
        One bit per input.
    cts
        Per output: True if its cotangent is an input, a literal if it is that number, False if it is zero.
    keep
        Outputs, by position, that are returned as well; they must not depend on the linear inputs.
    """
    avals = graph.avals
    builder = Builder()
    depends = bytearray(len(avals))
    depends[: len(linear)] = bytes(linear)
    backward = builder.adopt_independent(graph, depends)

    cotangents = Cotangents(builder, len(avals))
    for a, given in zip(graph.outputs, cts, strict=True):
        if given is not False:
            seed = Ref(builder, given) if isinstance(given, Literal) else builder.input_ref(graph.aval_of(a))
            if type(a) is int and depends[a]:
                cotangents.add(a, seed)
    for k in reversed(backward):
        eqn, loc = graph.eqns[k], graph.locs[k]
        builder.loc = ("transpose", loc)
        out_cts = [cotangents.total(o) for o in eqn.outputs]
        if any([c is not None for c in out_cts]):
            for a, c in zip(eqn.inputs, _transpose_eqn(builder, graph, eqn, loc, depends, out_cts), strict=True):
                if c is not None and type(a) is int and depends[a]:
                    cotangents.add(a, c)

    outputs = [graph.outputs[i] for i in keep]
    weak = [graph.weak[i] for i in keep]
    found = [cotangents.total(i) for i, is_linear in enumerate(linear) if is_linear]
    outputs.extend([c.atom for c in found if c is not None])
    weak.extend([False] * (len(outputs) - len(weak)))
    return Transposed(builder.close(outputs, weak, name=graph.name), tuple([c is not None for c in found]))


def _transpose_eqn(
    builder: Builder,
    graph: Graph,
    eqn: Eqn,
    loc: Loc,
    depends: bytearray,
    cts: list[Ref | None],
) -> Sequence[Ref | None]:
    """One cotangent or None per operand of ``eqn``."""
    primitive, inputs, params, _, _ = eqn
    avals = graph.avals
    operands: list[Ref | Aval] = [avals[a] if type(a) is int and depends[a] else Ref(builder, a) for a in inputs]
    if primitive.region_rules is not None:
        rule = primitive.region_rules.transpose
        if rule is None:
            raise _not_linear(eqn, loc)
        return rule(builder, eqn, operands, cts, transposed, parted)
    rule = primitive.transpose
    if rule is None:
        raise _not_linear(eqn, loc)
    named = primitive.named(params)
    results: Any
    fits, i = True, 0
    try:
        if callable(rule):
            results, fits = rule(cts, operands, **named), False
        else:
            ct, results = cts[0], [None] * len(inputs)
            for i, x in enumerate(operands):
                if type(x) is Aval:
                    partial = rule.get(i)
                    if partial is None:
                        raise _not_linear(eqn, loc)
                    found = results[i] = partial(ct, *operands, **named)
                    fits = fits and (found is None or (type(found) is Ref and found.aval is x))
    except ValueWantedError:
        raise _value_wanted(rule, i, graph, eqn, loc) from None
    except GraphadError:
        raise
    except Exception as error:
        raise raised(eqn, "transpose", loc, error) from error
    return results if fits else checked(eqn, "transpose", loc, results, [graph.aval_of(a) for a in inputs])


def _value_wanted(rule: Any, i: int, graph: Graph, eqn: Eqn, loc: Loc) -> Exception:
    """The error for a rule of operand ``i`` that computes with an operand of which it has only the type."""
    if callable(rule) or not reads_itself(rule[i], i, graph, eqn):
        return _not_linear(eqn, loc)
    problem = f"computes with the value of operand {i}, in which {eqn.primitive.name} is said to be linear"
    return rule_error(eqn, "transpose", loc, problem)


def _not_linear(eqn: Eqn, loc: Loc) -> DifferentiationError:
    return DifferentiationError(
        f"{format_loc(loc)}: {eqn.primitive.name} is not linear in the operands to transpose. "
        "linear_transpose takes linear functions only; for others use vjp."
    )


def transposed(
    graph: Graph, linear: tuple[bool, ...], cts: tuple[bool | Literal, ...], keep: tuple[int, ...] = ()
) -> Transposed:
    """`transpose`, memoised."""
    return graph.memoize(("transposed", linear, cts, keep), lambda: transpose(graph, linear, cts, keep))
