"""Planted faults: each pass and each family of derivatives is miscompiled once, and random programs must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import graphad.primitives  # fills the registry
from graphad.backends.llvm import reduce as llvm_reduce
from graphad.backends.loops import memory
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.ref import Ref
from graphad.passes import inline, simplify
from graphad.passes.pattern import var
from graphad.passes.rewrite import RuleSet, rule
from graphad.primitives.elementwise import abs_, exp, mul
from graphad.trace import bind, guards
from graphad.transforms.cotangents import Cotangents
from tests.generator import checks
from tests.generator.programs import Program, random_program

assert graphad.primitives
MOST = 400  # programs until the fault must have shown


def finds(compares: tuple[Callable[[Program], None], ...], smooth: bool) -> bool:
    """Whether one of the first random programs differs."""
    for seed in range(MOST):
        compare = compares[seed % len(compares)]
        if checks._outcome(compare, random_program(10_000 + seed, smooth=smooth)) is not None:
            return True
    return False


def _scaled(rule: Any) -> Any:
    """A rule whose result is a quarter too large."""

    def wrong(*args: Any, **params: Any) -> Any:
        found = rule(*args, **params)
        if isinstance(found, (list, tuple)):
            return type(found)([mul(x, 1.25) if isinstance(x, Ref) else x for x in found])
        return mul(found, 1.25) if isinstance(found, Ref) else found

    return wrong


#: One primitive of each family of derivatives, and the rule that is planted: that of jvp, or of transposition.
DERIVATIVES = {
    "transcendental": ("sin", "jvp"),
    "powers": ("integer_pow", "jvp"),
    "extrema": ("maximum", "jvp"),
    "quotients": ("div", "jvp"),
    "products": ("mul", "transpose"),
    "selection": ("select", "transpose"),
    "conversions": ("convert", "transpose"),
    "layout": ("broadcast", "transpose"),
    "sums": ("reduce_sum", "transpose"),
    "reduced extrema": ("reduce_max", "jvp"),
    "reduced products": ("reduce_prod", "jvp"),
    "running sums": ("cumsum", "transpose"),
    "running products": ("cumprod", "jvp"),
    "running extrema": ("cummax", "jvp"),
    "slices": ("slice", "transpose"),
    "padding": ("pad", "transpose"),
    "joining": ("concatenate", "transpose"),
    "gathers": ("gather", "transpose"),
    "scatters": ("scatter_set", "transpose"),
    "contractions": ("dot_general", "transpose"),
    "convolutions": ("conv", "transpose"),
    "windows": ("window_max", "jvp"),
    "dynamic slices": ("dynamic_slice", "transpose"),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", DERIVATIVES)
def test_wrong_derivatives_are_found(family, monkeypatch):
    name, slot = DERIVATIVES[family]
    primitive = PRIMITIVES[name]
    rules = getattr(primitive, slot)
    if isinstance(rules, tuple):
        wrong = tuple(r and _scaled(r) for r in rules)
    else:
        wrong = {k: _scaled(r) for k, r in rules.items()} if isinstance(rules, dict) else _scaled(rules)
    monkeypatch.setattr(primitive, slot, wrong)
    assert finds((checks.gradients,), smooth=True)


def _of_inline(monkeypatch):
    """Calls are inlined on their operand's exponential."""
    right = inline._Inliner.inline

    def wrong(self: Any, graph: Any, inputs: Any) -> Any:
        first = inputs[0]
        if self.inputs and type(first) is int and self.avals[first].is_float and len(self.eqns) > 0:
            inputs = [*self.emit(exp, (first,)), *inputs[1:]]
        return right(self, graph, inputs)

    monkeypatch.setattr(inline._Inliner, "inline", wrong)


def _of_simplify(monkeypatch):
    """A rule that is wrong for negative numbers."""
    x = var("x")
    rules = RuleSet((*simplify.EXACT_RULES, rule("planted", abs_(x), x, exact=True)))
    monkeypatch.setattr(simplify, "EXACT_RULES", rules)


def _of_lowering(monkeypatch):
    """floor is lowered as ceil."""
    monkeypatch.setattr(PRIMITIVES["floor"], "lowering", PRIMITIVES["ceil"].lowering)


def _of_memory(monkeypatch):
    """All temporaries share one place."""
    right = memory.lay_out

    def wrong(*args: Any) -> Any:
        arena = right(*args)
        return type(arena)(dict.fromkeys(arena.offsets, 0), arena.size)

    monkeypatch.setattr(memory, "lay_out", wrong)


def _of_reductions(monkeypatch):
    """The vector accumulators of a maximum begin at 0."""
    monkeypatch.setattr(llvm_reduce, "_least", lambda dtype: 0.0 if dtype.is_float else 0)


def _of_guards(monkeypatch):
    """What Python has branched on is not guarded."""
    for module in (guards, bind):
        monkeypatch.setattr(module, "record", lambda *_: None)


def _of_batching(monkeypatch):
    """Sums of a batch lose the first axis instead of theirs."""
    primitive = PRIMITIVES["reduce_sum"]
    right = primitive.batch
    monkeypatch.setattr(primitive, "batch", lambda *args, axes: right(*args, axes=tuple(0 for _ in axes[:1]) or axes))


def _of_transposition(monkeypatch):
    """Of two cotangents the second is kept."""

    def wrong(self: Cotangents, value: int, term: Any) -> None:
        self._terms[value] = [term]

    monkeypatch.setattr(Cotangents, "add", wrong)


PASSES = {
    "inline": (_of_inline, (checks.values,), False),
    "simplify": (_of_simplify, (checks.values,), False),
    "lowering": (_of_lowering, (checks.values,), False),
    "memory": (_of_memory, (checks.values,), False),
    "reductions": (_of_reductions, (checks.values,), False),
    "guards": (_of_guards, (checks.values,), False),
    "batching": (_of_batching, (checks.batches,), False),
    "transposition": (_of_transposition, (checks.gradients,), True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
def test_wrong_passes_are_found(name, monkeypatch):
    plant, compares, smooth = PASSES[name]
    plant(monkeypatch)
    assert finds(compares, smooth)


def test_the_programs_agree_where_nothing_is_planted():
    assert checks._outcome(checks.values, random_program(10_000)) is None
    assert checks._outcome(checks.gradients, random_program(10_001, smooth=True)) is None
