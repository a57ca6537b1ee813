"""Planted faults of loops: each rule and pass for them is spoiled once, and random programs with loops must notice.

The program that differs agrees again once the fault is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from graphad.api import stages
from graphad.api.checkpointed_loops import _ReverseOfScan
from graphad.backends.cpu import executable
from graphad.backends.llvm.nest import NestEmitter
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn
from graphad.ir.loc import transforms_of
from graphad.ir.ref import Ref
from graphad.passes import fission, gather_products, hoist
from graphad.primitives import scan as scan_module
from graphad.primitives import while_loop
from graphad.primitives.cond import cond
from graphad.primitives.control import only
from graphad.primitives.crossing import Params
from graphad.primitives.elementwise import le, maximum, sub
from graphad.primitives.scan import scan
from tests.generator import loop_checks
from tests.generator.checks import _outcome
from tests.generator.loop_programs import LoopProgram
from tests.generator.loops import random_loops

Plant = Callable[[pytest.MonkeyPatch], None]
FIRST, MOST = 30_000, 30  # seeds: of so many programs one must show the fault


def differing(compare: Callable[[LoopProgram], None], smooth: bool, loop: str) -> LoopProgram:
    """The first of a few programs with such a loop that differs."""
    programs = (random_loops(FIRST + seed, smooth=smooth) for seed in range(MOST))
    return next(p for p in programs if loop in p.source and _outcome(compare, p) is not None)


def _rule(monkeypatch: pytest.MonkeyPatch, primitive: Any, name: str, wrong: Callable[..., Any]) -> None:
    """``wrong``, which takes the right rule and its arguments, in place of a rule of loops."""
    right = getattr(primitive.region_rules, name)
    rules = primitive.region_rules._replace(**{name: lambda *args: wrong(right, *args)})
    monkeypatch.setattr(primitive, "region_rules", rules)


def _of_transposed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transposed loop runs as the loop does, and not backwards."""
    emit, rules = Builder.emit, []

    def same_way(self: Builder, primitive: Any, inputs: Any, params: Any = (), regions: Any = ()) -> Any:
        if primitive is scan and rules:
            params = (params[0], rules[-1], *params[2:])
        return emit(self, primitive, inputs, params, regions)

    def wrong(right: Callable[..., Any], builder: Builder, eqn: Eqn, *args: Any) -> Any:
        rules.append(Params(*eqn.params).reverse)
        try:
            return right(builder, eqn, *args)
        finally:
            rules.pop()

    monkeypatch.setattr(Builder, "emit", same_way)
    _rule(monkeypatch, scan, "transpose", wrong)


def _of_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cotangent of what a loop closes over is that of its first turn alone."""
    monkeypatch.setattr(scan_module, "accumulate", lambda _total, x: x)


def _of_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative of a while ends one turn early."""
    right = while_loop._tangents

    def wrong(builder: Builder, region: Any, n_turns: Ref, *args: Any) -> Any:
        return right(builder, region, maximum(sub(n_turns, 1), 0), *args)

    monkeypatch.setattr(while_loop, "_tangents", wrong)


def _of_ended_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch, tangents of elements whose while has ended go on for a turn."""
    monkeypatch.setattr(while_loop, "lt", le)


def _of_chosen_tangents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of tangents is chosen from the other branch."""

    def wrong(right: Callable[..., Any], builder: Builder, eqn: Eqn, *args: Any) -> Any:
        if "jvp" in transforms_of(builder.loc) and not any(eqn.params[1]):
            eqn = eqn._replace(regions=(*eqn.regions[1:], eqn.regions[0]))
        return right(builder, eqn, *args)

    _rule(monkeypatch, cond, "batch", wrong)


def _of_hoisting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of several carried values is taken for one that no turn changes."""
    right = hoist._scan

    def wrong(builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> Any:
        p, region = Params(*eqn.params), eqn.regions[0]
        if p.n_carry > 1:
            eqn = eqn._replace(regions=(only(region, [p.n_consts, *region.outputs[1:]]),))
        return right(builder, eqn, inputs)

    monkeypatch.setattr(hoist, "_scan", wrong)


def _of_fission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals that are taken away are added."""
    right = fission.total_of

    def wrong(*args: Any) -> Any:
        total = right(*args)
        return total and total._replace(negative=False)

    monkeypatch.setattr(fission, "total_of", wrong)
    monkeypatch.setattr(gather_products, "total_of", wrong)


def _of_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several values in registers the first stays what it was in the turn before."""
    right = NestEmitter._next

    def wrong(self: NestEmitter, loop: Any, c: Any, running: str, lanes: int) -> str:
        following = right(self, loop, c, running, lanes)
        return running if c.combine == "last" and len(loop.carries) > 1 and c is loop.carries[0] else following

    monkeypatch.setattr(NestEmitter, "_next", wrong)


def _of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that run again begin with no sums of cotangents, in place of those of the turns behind them."""
    right = _ReverseOfScan.turns

    def wrong(self: _ReverseOfScan, found: Any, *args: Any) -> Any:
        return right(self, found._replace(consts=[0 * c for c in found.consts]), *args)

    monkeypatch.setattr(_ReverseOfScan, "turns", wrong)


#: name -> the fault, what finds it, whether programs are smooth, and what they must have.
FAULTS: dict[str, tuple[Plant, Callable[[LoopProgram], None], bool, str]] = {
    "a transposed loop runs forwards": (_of_transposed_order, loop_checks.gradients, True, "scan("),
    "cotangents of constants": (_of_constants, loop_checks.gradients, True, "scan("),
    "turns of a derivative": (_of_turns, loop_checks.gradients, True, "while_loop("),
    "elements that have ended": (_of_ended_elements, loop_checks.gradients_of_batches, True, "while_loop("),
    "the other branch's tangent": (_of_chosen_tangents, loop_checks.gradients_of_batches, True, " = xp.cond("),
    "hoisting of what varies": (_of_hoisting, loop_checks.gradients, True, "scan("),
    "the sign of a total": (_of_fission, loop_checks.fissions, True, " - xp.shaken("),
    "sums of the last turns": (_of_blocks, loop_checks.checkpoints, True, "scan("),
    "a carried value of the turn before": (_of_carries, loop_checks.gradients, True, "scan("),
}


@pytest.fixture
def forgotten() -> Iterator[Callable[[], None]]:
    """Forgets programs, which are kept for equal graphs: nobody else shall have a faulty one."""

    def forget() -> None:
        stages.lifted_constants.cache_clear()
        stages.first_equal.cache_clear()
        executable._codes.clear()

    yield forget
    forget()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch, forgotten: Callable[[], None]) -> None:
    plant, compare, smooth, loop = FAULTS[name]
    forgotten()
    plant(monkeypatch)
    program = differing(compare, smooth, loop)
    monkeypatch.undo()
    forgotten()
    assert _outcome(compare, program) is None
