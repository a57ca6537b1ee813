"""Checks of the results of primitives' rules, and the error for a wrong rule.

A rule is written by whoever registers a primitive. An error in it is reported as the fault of that rule, with the
primitive's name and the user's line, never as a property of the user's function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.errors import RuleError, at
from graphad.ir.builder import Builder
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, ValueWantedError


def rule_error(eqn: Eqn, rule: str, loc: Loc, problem: str) -> RuleError:
    """The error for a fault in the ``rule`` ("derivative", "transpose", "batching") of ``eqn``."""
    name = eqn.primitive.name
    return RuleError(at(format_loc(loc), f"the {rule} rule of {name} {problem}. Mend that rule of {name}."))


def raised(eqn: Eqn, rule: str, loc: Loc, error: Exception) -> RuleError:
    """The error for an exception that a rule raised."""
    return rule_error(eqn, rule, loc, f"raised {type(error).__name__}: {str(error).rstrip('.')}")


def checked(eqn: Eqn, rule: str, loc: Loc, results: Any, wanted: Sequence[Aval], zero: bool = True) -> Sequence[Any]:
    """``results`` if they are one Ref of the wanted type each, or with ``zero`` None; else a `RuleError`."""
    if not isinstance(results, (list, tuple)) or len(results) != len(wanted):
        count = f"{len(results)} results" if isinstance(results, (list, tuple)) else repr(results)
        raise rule_error(eqn, rule, loc, f"gave {count} where a list of {len(wanted)} is due")
    for k, (x, a) in enumerate(zip(results, wanted, strict=True)):
        if (type(x) is not Ref or x.aval is not a) and not (zero and x is None):
            found = x.aval if isinstance(x, Ref) else repr(x)
            raise rule_error(eqn, rule, loc, f"gave {found} as result {k} where {a} is due")
    return results


def reads_itself(partial: Any, k: int, graph: Graph, eqn: Eqn) -> bool:
    """Whether the transpose rule of operand ``k`` needs the value of that very operand, given all others.

    Then the rule is wrong, for the primitive declares itself linear there. Else it needs the value of another operand
    that is linear as well, as that of x * x does: the equation is not linear in the two together.
    """
    builder = Builder()
    ct = builder.input_ref(graph.avals[eqn.outputs[0]])
    operands = [graph.aval_of(a) if i == k else builder.input_ref(graph.aval_of(a)) for i, a in enumerate(eqn.inputs)]
    try:
        partial(ct, *operands, **eqn.primitive.named(eqn.params))
    except ValueWantedError:
        return True
    return False
