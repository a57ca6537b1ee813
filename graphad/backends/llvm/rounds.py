"""Rounds of loops in LLVM text: basic blocks, and the values that are carried from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphad.backends.llvm.access import Lanes
from graphad.backends.llvm.text import Code, Val, lanes_of, register_type, suffix
from graphad.backends.loops.ir import Loop, Operand, While


class Rounds:
    """What an emitter of nests does for a loop, whatever is in it.

    Attributes
    ----------
    scope
        Indices and splats computed where the code now stands.
    count
        What `EXTENT` stands for.
    on_turn
        Is told of each turn of a loop that may be long, where its code begins.
    """

    code: Code
    values: dict[str, Val]
    scope: dict[object, str]
    lanes: Lanes
    count: str
    on_turn: Callable[[Loop | While], None]

    @property
    def index_type(self) -> str:
        """The LLVM type of loop counters."""
        raise AssertionError("the emitter of nests has one")

    def operand(self, value: Operand, lanes: int) -> Val:
        """An operand in ``lanes`` lanes."""
        raise AssertionError("the emitter of nests does")

    def statements(self, body: Iterable[Any]) -> None:
        """Emit statements."""
        raise AssertionError("the emitter of nests does")

    def round(self, loop: Loop, at: str, carried: list[str], lanes: int) -> list[str]:
        """The body once, at ``loop.var = at``; returns the next carried values."""
        raise AssertionError("the emitter of nests does")

    def repeat(
        self,
        trips: str,
        hint: str,
        types: Sequence[str],
        initial: Sequence[str],
        body: Callable[[str, list[str]], list[str] | None],
        step: int = 1,
        begin: str = "0",
    ) -> list[str]:
        """A loop of ``trips`` >= 1 rounds; ``body`` takes ``begin + step * round`` and the carried values."""
        code, before, kind = self.code, self.code.block, self.index_type
        head, after = code.fresh(f"loop.{hint}"), code.fresh(f"after.{hint}")
        code.do(f"br label %{head}")
        code.start(head)
        phis = len(code.lines)
        counter = "%" + code.fresh("round")
        carried = ["%" + code.fresh("carried") for _ in types]
        outer, self.scope = self.scope, dict(self.scope)
        at = counter if step == 1 else code.let(f"mul nsw {kind} {counter}, {step}", "block")
        if begin != "0":
            at = code.let(f"add nsw {kind} {begin}, {at}", hint)
        following = body(at, carried) or []
        self.scope = outer
        more = code.let(f"add nuw nsw {kind} {counter}, 1", "next")
        done = code.let(f"icmp eq {kind} {more}, {trips}", "done")
        code.do(f"br i1 {done}, label %{after}, label %{head}")
        rows = zip([kind, *types], [counter, *carried], ["0", *initial], [more, *following], strict=True)
        code.lines[phis:phis] = [
            f"  {name} = phi {of} [ {first}, %{before} ], [ {then}, %{code.block} ]" for of, name, first, then in rows
        ]
        code.start(after)
        return following

    def counted_rounds(self, loop: Loop, carried: list[str], lanes: int) -> list[str]:
        """As many rounds as a number says that is known when it runs, none among them."""
        code, kinds = self.code, [register_type(c.dtype, lanes) for c in loop.carries]
        before, inside, after = code.block, code.fresh("some"), code.fresh("after")
        some = code.let(f"icmp sgt i64 {self.count}, 0", "any")
        code.do(f"br i1 {some}, label %{inside}, label %{after}")
        code.start(inside)
        following = self.repeat(
            self.count, loop.var, kinds, carried, lambda at, values: self.round(loop, at, values, lanes)
        )
        end = code.block
        code.do(f"br label %{after}")
        code.start(after)
        rows = zip(kinds, carried, following, strict=True)
        return [code.let(f"phi {kind} [ {a}, %{before} ], [ {b}, %{end} ]", "carried") for kind, a, b in rows]

    def while_loop(self, loop: While) -> None:
        """In lanes, each of them keeps its carries once its condition is False."""
        code, lanes = self.code, self.lanes.count
        kinds = [register_type(c.dtype, lanes) for c in loop.carries]
        at = [c.name for c in loop.carries].index(loop.condition)
        carried = [self.operand(c.init, lanes).text for c in loop.carries]
        if lanes > 1 and not self.lanes.whole:
            carried[at] = code.let(f"and {kinds[at]} {carried[at]}, {self.lanes.mask}", "live")
        before, head, inside, after = code.block, *map(code.fresh, ("test", "turn", "after"))
        code.do(f"br label %{head}")
        code.start(head)
        phis = len(code.lines)
        names = ["%" + code.fresh("carried") for _ in kinds]
        code.do(f"br i1 {self.any(names[at], lanes)}, label %{inside}, label %{after}")
        code.start(inside)
        self.on_turn(loop)
        outer, self.scope = self.scope, dict(self.scope)
        for c, name in zip(loop.carries, names, strict=True):
            self.values[c.name] = Val(name, c.dtype, lanes)
        self.statements(loop.body)
        following = [self.operand(c.update, lanes).text for c in loop.carries]
        if lanes > 1:
            mask = f"{kinds[at]} {names[at]}"
            following[at] = code.let(f"and {mask}, {following[at]}", "live")
            following = [
                new if k == at else code.let(f"select {mask}, {kind} {new}, {kind} {old}", "kept")
                for k, (kind, new, old) in enumerate(zip(kinds, following, names, strict=True))
            ]
        self.scope = outer
        code.do(f"br label %{after if loop.is_branch else head}")
        rows = list(zip(kinds, names, carried, following, strict=True))
        if loop.is_branch:
            last = ["%" + code.fresh("carried") for _ in kinds]
            code.lines[phis:phis] = [f"  {name} = phi {of} [ {first}, %{before} ]" for of, name, first, _ in rows]
            end = code.block
            code.start(after)
            for (of, name, _, then), final in zip(rows, last, strict=True):
                code.do(f"{final} = phi {of} [ {name}, %{head} ], [ {then}, %{end} ]")
            names = last
        else:
            code.lines[phis:phis] = [
                f"  {name} = phi {of} [ {first}, %{before} ], [ {then}, %{code.block} ]"
                for of, name, first, then in rows
            ]
            code.start(after)
        for c, name in zip(loop.carries, names, strict=True):
            self.values[c.name] = Val(name, c.dtype, lanes)

    def any(self, mask: str, lanes: int) -> str:
        """Whether a mask holds in some lane."""
        if lanes == 1:
            return mask
        kind = lanes_of("i1", lanes)
        return self.code.call(f"llvm.vector.reduce.or.{suffix('i1', lanes)}", "i1", [(kind, mask)], "some")
