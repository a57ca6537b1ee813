"""``cond``: runs one of its regions, which ``index``, the first operand, says.

Every region takes all other operands. The first ``n_chosen`` results are those of the region that runs. Behind them
come results of one region each (``n_own`` says how many are of which): residuals, which only the derivative of that
region reads; what they are where another region runs is not said.

**Batched.** An index with axes chooses for each element of a batch, whose axes lead in all results that are chosen.
Then all regions run, and the results are selected. It stays one equation through linearization and transposition, so
that what is selected is the *outgoing* tangent, or cotangent of an operand: where a region is not chosen, its
derivative may be nan and does not matter. All operands of floats have the batch axes, for a cotangent that is summed
over a batch cannot be selected any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.lowering import Branch
from graphad.ir.params import INT, INTS
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, i32
from graphad.primitives.control import (
    Marks,
    Run,
    Tangents,
    atoms_of,
    batched_outputs,
    check_region,
    narrowed,
    only,
    refuse_effects,
    spread,
)
from graphad.primitives.layout import instantiate, repeat_leading


def _type(
    index: OperandType, *operands: OperandType, regions: tuple[Graph, ...], n_chosen: int, n_own: tuple[int, ...]
) -> tuple[Aval, ...]:
    if index.dtype is not i32:
        raise TypeError(f"cond chooses by an index of i32, not {index}")
    if len(n_own) != len(regions):
        raise TypeError(f"cond has {len(regions)} regions, but n_own={n_own}")
    chosen = regions[0].out_avals[:n_chosen]
    own: list[Aval] = []
    for n, region in zip(n_own, regions, strict=True):
        check_region("cond", operands, region)
        outs = region.out_avals
        if outs[:n_chosen] != chosen or len(outs) != n_chosen + n:
            raise TypeError(f"regions of cond give {chosen} and {outs}; they must give results of the same types")
        own += outs[n_chosen:]
    for a in chosen:
        if a.shape[: len(index.shape)] != index.shape:
            raise TypeError(f"cond chooses by {index} among results of type {a}; the batch axes must lead")
    return (*chosen, *own)


def _evaluate(eqn: Eqn, values: Sequence[Any], run: Run) -> list[Any]:
    n_chosen, n_own = eqn.params
    index, operands = np.asarray(values[0]), values[1:]
    k = np.clip(index, 0, len(eqn.regions) - 1)
    if not k.ndim:
        outs = run(eqn.regions[k], operands)
        avals = [region.out_avals[n_chosen:] for region in eqn.regions]
        own = [np.zeros(a.shape, a.dtype.numpy) for region_avals in avals for a in region_avals]
        start = sum(n_own[:k])
        own[start : start + n_own[k]] = outs[n_chosen:]
        return [*outs[:n_chosen], *own]
    results = [run(region, operands) for region in eqn.regions]
    chosen: list[Any] = []
    for candidates in zip(*[r[:n_chosen] for r in results], strict=True):
        where = k.reshape(k.shape + (1,) * (np.ndim(candidates[0]) - k.ndim))
        out = candidates[0]
        for number, candidate in enumerate(candidates[1:], start=1):
            out = np.where(where == number, candidate, out)
        chosen.append(out)
    return [*chosen, *[x for r in results for x in r[n_chosen:]]]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def _linearize(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, linearized: Callable[..., Any], _: Any
) -> tuple[list[Atom], list[Ref | None]]:
    n_chosen, n_own = eqn.params
    mask = tuple([t is not None for t in tangents[1:]])
    splits = [linearized(region, mask) for region in eqn.regions]
    chosen = [any([s.nonzero[k] for s in splits]) for k in range(n_chosen)]
    primal, crossing = _with_residuals(eqn, splits)
    loc = builder.loc
    counts = [len(c) for c in crossing]
    params = (n_chosen, tuple([n + c for n, c in zip(n_own, counts, strict=True)]))
    outs: list[Atom] = [*builder.emit(eqn.primitive, atoms, params, tuple(primal))]
    builder.loc = ("jvp", loc)
    results, residuals = outs[:n_chosen], []
    at = n_chosen
    for n, c in zip(n_own, counts, strict=True):
        results += outs[at : at + n]
        residuals.append(outs[at + n : at + n + c])
        at += n + c
    # The linear equation: the operands that are residuals, then the residuals of each region, then the tangents.
    read = sorted({a for s in splits for a in _residuals(s) if type(a) is int and a < eqn.regions[0].n_inputs})
    marked = [k for k, m in enumerate(mask) if m]
    operands = [atoms[1 + k] for k in read] + [a for r in residuals for a in r]
    operands += [tangents[1 + k].atom for k in marked]  # type: ignore[union-attr]
    avals = [Ref(builder, a).aval for a in operands]
    regions: list[Graph] = []
    n_owned: list[int] = []
    for number, split in enumerate(splits):
        body = Builder()
        inputs = [body.input(a) for a in avals]
        place: dict[Atom, Atom] = dict(zip(read, inputs, strict=False))
        start = len(read) + sum(counts[:number])
        place |= dict(zip(crossing[number], inputs[start : start + counts[number]], strict=True))
        given = [place[a] if type(a) is int else a for a in _residuals(split)]
        found = iter(body.inline(split.linear, [*given, *inputs[len(avals) - len(marked) :]]))
        outs_of = [Ref(body, next(found)) if n else None for n in split.nonzero]
        out_avals = eqn.regions[number].out_avals
        wanted = [instantiate(body, outs_of[k], out_avals[k]) for k in range(n_chosen) if chosen[k]]
        own = [t for t in outs_of[n_chosen:] if t is not None]
        n_owned.append(len(own))
        regions.append(body.close(atoms_of([*wanted, *own]), name=split.linear.name))
    made = builder.emit(eqn.primitive, (atoms[0], *operands), (sum(chosen), tuple(n_owned)), tuple(regions))
    nonzero = [*chosen, *[n for s in splits for n in s.nonzero[n_chosen:]]]
    return results, spread(builder, made, nonzero)


def _residuals(split: Any) -> tuple[Atom, ...]:
    outputs = split.primal.outputs
    return outputs[len(outputs) - split.n_residuals :]


def _with_residuals(eqn: Eqn, splits: Sequence[Any]) -> tuple[list[Graph], list[list[Atom]]]:
    """The primal regions, with those of their values as further outputs that are residuals and no operands."""
    regions: list[Graph] = []
    crossing: list[list[Atom]] = []
    for region, split in zip(eqn.regions, splits, strict=True):
        own: list[Atom] = [a for a in _residuals(split) if type(a) is int and a >= region.n_inputs]
        values = list(dict.fromkeys(own))
        results = split.primal.outputs[: len(region.outputs)]
        regions.append(only(split.primal, [*results, *values]))
        crossing.append(values)
    return regions, crossing


def _transpose(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref | Aval], cts: Tangents, transposed: Callable[..., Any], _: Any
) -> list[Ref | None]:
    n_chosen, n_own = eqn.params
    index, *others = operands
    linear = tuple([type(x) is Aval for x in others])
    of_chosen = [c is not None for c in cts[:n_chosen]]
    found: list[Any] = []
    at = n_chosen
    owned: list[list[Ref | None]] = []
    for region, n in zip(eqn.regions, n_own, strict=True):
        own = list(cts[at : at + n])
        owned.append(own)
        found.append(transposed(region, linear, (*of_chosen, *[c is not None for c in own])))
        at += n
    wanted = [any([f.nonzero[k] for f in found]) for k in range(linear.count(True))]
    fixed = [x for x in others if type(x) is Ref]
    seeds = [c for c in cts[:n_chosen] if c is not None]
    own_seeds = [[c for c in own if c is not None] for own in owned]
    given = [*fixed, *seeds, *[c for own in own_seeds for c in own]]
    of_linear = [x for x in others if type(x) is Aval]
    regions: list[Graph] = []
    for number, f in enumerate(found):
        body = Builder()
        inputs = [body.input(x.aval) for x in given]
        start = len(fixed) + len(seeds) + sum([len(own) for own in own_seeds[:number]])
        own = inputs[start : start + len(own_seeds[number])]
        results = iter(body.inline(f.graph, [*inputs[: len(fixed) + len(seeds)], *own]))
        refs = [Ref(body, next(results)) if n else None for n in f.nonzero]
        outs = [instantiate(body, r, a) for r, a, w in zip(refs, of_linear, wanted, strict=True) if w]
        regions.append(body.close(atoms_of(outs), name=f.graph.name))
    atoms = (index.atom, *atoms_of(given))  # type: ignore[union-attr]
    numbers = builder.emit(eqn.primitive, atoms, (sum(wanted), (0,) * len(regions)), tuple(regions))
    per_linear = iter(spread(builder, numbers, wanted))
    return [None, *[next(per_linear) if m else None for m in linear]]


# ---------------------------------------------------------------------------------------------------------------------
# Batching and dead code


def _batch(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], Marks]:
    n_chosen, _ = eqn.params
    mask = list(marks)
    if marks[0] or operands[0].ndim:  # it chooses for each element: all operands have all batch axes
        mask = [True] * len(mask)
    xs = [repeat_leading(x, size) if m and not was else x for x, m, was in zip(operands, mask, marks, strict=True)]
    if mask[0]:
        refuse_effects(builder, eqn, "cond")
    made = [batched(region, tuple(mask[1:]), size) for region in eqn.regions]
    chosen = [mask[0] or any([m.mask[k] for m in made]) for k in range(n_chosen)]
    wanted = [(*chosen, *m.mask[n_chosen:]) for m in made]
    regions = tuple([batched_outputs(m.graph, m.mask, w, size) for m, w in zip(made, wanted, strict=True)])
    numbers = builder.emit(eqn.primitive, atoms_of(xs), eqn.params, regions)
    return [Ref(builder, n) for n in numbers], (*chosen, *[m for w in wanted for m in w[n_chosen:]])


def _prune(eqn: Eqn, live: Marks) -> Eqn:
    n_chosen, n_own = eqn.params
    lives: list[Marks] = []
    at = n_chosen
    for n in n_own:
        lives.append((*live[:n_chosen], *live[at : at + n]))
        at += n
    slims = [
        only(r, [a for a, m in zip(r.outputs, marks, strict=True) if m]) if not all(marks) else r
        for r, marks in zip(eqn.regions, lives, strict=True)
    ]
    read = {a for r in slims for a in r.values_read}
    n_inputs = eqn.regions[0].n_inputs
    kept = [k for k in range(n_inputs) if k in read]
    if all(live) and len(kept) == n_inputs:
        return eqn
    regions = tuple([narrowed(slim, slim.outputs, kept) for slim in slims])
    atoms = (eqn.inputs[0], *[eqn.inputs[1 + k] for k in kept])
    outputs = tuple([o for o, is_live in zip(eqn.outputs, live, strict=True) if is_live])
    params = (sum(live[:n_chosen]), tuple([sum(marks[n_chosen:]) for marks in lives]))
    return Eqn(eqn.primitive, atoms, params, outputs, regions)


cond = Primitive(
    "cond",
    doc="Runs the region of number ``index``, or for each element of a batch all of them and selects.",
    type_rule=_type,
    numpy=None,
    params={"n_chosen": INT, "n_own": INTS},
    multiple=True,
    lowering=lambda _types, params: Branch(**params),
    region_rules=RegionRules(_linearize, _transpose, _batch, _evaluate),
    prune=_prune,
)
