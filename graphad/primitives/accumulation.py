"""Sums of cotangents of which one is an update of zeros.

Where a function reads a part of an array, ``x[i]`` or a block of it, the cotangent of ``x`` is that part written into
zeros. Added as it is, it costs the size of ``x``; in a loop that reads one element in each turn, the square of it. Here
the part is written into the other cotangent, which lowering does in place.
"""

from __future__ import annotations

from graphad.ir.builder import Builder
from graphad.ir.graph import Eqn
from graphad.ir.ref import Ref
from graphad.primitives.dynamic import dynamic_slice, dynamic_update_slice
from graphad.primitives.elementwise import add
from graphad.primitives.indexing import scatter_add
from graphad.primitives.layout import zeros_like_aval


def accumulate(total: Ref, term: Ref) -> Ref:
    """``total + term``; if ``term`` is made by updates of zeros, they become updates of ``total``."""
    updates = _updates(term)
    if updates is None:
        return add(total, term)
    for eqn in reversed(updates):
        total = update(total, eqn)
    return total


def updates_zeros(builder: Builder, eqn: Eqn) -> bool:
    """Whether ``eqn`` writes something into zeros, so that `update` can write it into something else."""
    if eqn.primitive is not scatter_add and eqn.primitive is not dynamic_update_slice:
        return False
    return eqn.inputs[0] == zeros_like_aval(builder, builder.avals[eqn.outputs[0]]).atom


def update(total: Ref, eqn: Eqn) -> Ref:
    """``total`` plus what ``eqn`` writes into zeros."""
    written, *places = [Ref(total.builder, a) for a in eqn.inputs[1:]]
    named = eqn.primitive.named(eqn.params)
    if eqn.primitive is scatter_add:
        return scatter_add(total, written, *places, **named)
    old = dynamic_slice(total, *places, sizes=written.shape[named["batch"] :], **named)
    return dynamic_update_slice(total, add(old, written), *places, **named)


def _updates(term: Ref) -> list[Eqn] | None:
    """The updates, from the last to the first, that make ``term`` of zeros; None if it is made otherwise."""
    found: list[Eqn] = []
    atom = term.atom
    for eqn in reversed(term.builder.eqns):
        if eqn.outputs == (atom,):
            found.append(eqn)
            if updates_zeros(term.builder, eqn):
                return found
            if eqn.primitive is not scatter_add:
                break
            atom = eqn.inputs[0]
    return None
