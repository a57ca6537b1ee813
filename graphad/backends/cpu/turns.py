"""Steps that run several times, in LLVM text: loops, branches, and loops of a number of turns known when they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from graphad.backends.cpu.one_thread import gains_by_several, needs_one
from graphad.backends.llvm.access import Place
from graphad.backends.llvm.calls import Calls
from graphad.backends.llvm.nest import NestEmitter
from graphad.backends.llvm.text import Code
from graphad.backends.loops import memory
from graphad.backends.loops.ir import Buffer, Counted, Repeat, RepeatWhile, Step
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.outcome import OUT_OF_MEMORY
from graphad.ir.types import EXTENT, b1, i64


def products_with_threads(steps: Iterable[Step]) -> list[Step]:
    """The steps in parallel turns for which BLAS would take several threads, as large as they are."""
    turns = [s for s in steps if isinstance(s, Repeat) and s.parallel]
    return [s for t in turns for s in t.body if gains_by_several(s)]


class Turns:
    """What the emitter of a program does for steps with steps inside.

    Attributes
    ----------
    pointers
        The pointer of each buffer where the code now stands: buffers that trade places exchange theirs.
    blocks
        The memory that `Counted` steps have allocated where the code now stands.
    depth
        Of steps that run several times, one inside the other.
    sized
        How many `Counted` steps are behind the code so far.
    """

    buffers: dict[str, Buffer]
    pointers: dict[str, str]
    code: Code
    calls: Calls
    nests: NestEmitter
    one_blas_thread: bool
    to_limit: int
    depth: int
    blocks: list[str]
    sized: int

    def step(self, step: Step) -> None:
        """Emit any step."""
        raise AssertionError("the emitter of a program does")

    def leave_unless(self, holds: str, status: int) -> None:
        """Leave the program with ``status`` where the bit ``holds`` is false."""
        raise AssertionError("the emitter of a program does")

    def look_after(self, step: Repeat | RepeatWhile) -> None:
        """Look for signals in a turn of ``step``, if it is time."""
        raise AssertionError("the emitter of a program does")

    def limit(self, one: bool) -> None:
        """Keep BLAS to one thread from here on, or give it its own threads back."""
        raise AssertionError("the emitter of a program does")

    def counted(self, step: Counted) -> None:
        """Steps over temporaries whose size is known now; out of memory, the program is left."""
        code, place = self.code, Place(self.pointers[step.count], "0", 0)
        touched = sorted({name for s in step.body for name in buffers_read(s) | buffers_written(s)})
        own = [self.buffers[name] for name in touched if self.buffers[name].per_turn]
        count = self.nests.access.load_one(place, i64, "count")
        outer, self.nests.count = self.nests.count, count
        if own:
            sizes = [code.let(f"mul nsw i64 {count}, {memory.buffer_bytes(b) // EXTENT}", "size") for b in own]
            rounded = [code.let(f"and i64 {code.let(f'add nsw i64 {s}, 127', 'size')}, -64", "size") for s in sizes]
            total = rounded[0]
            for size in rounded[1:]:
                total = code.let(f"add nsw i64 {total}, {size}", "total")
            block = code.let(f"call ptr {self.calls.externals[memory.ALLOCATE]}(i64 {total})", "block")
            self.leave_unless(code.let(f"icmp ne ptr {block}, null", "there"), OUT_OF_MEMORY - self.sized)
            self.blocks.append(block)
            at = code.let(f"call ptr @llvm.ptrmask.p0.i64(ptr {self._after(block, '63')}, i64 -64)", "start")
            code.declarations["declare ptr @llvm.ptrmask.p0.i64(ptr, i64)"] = None
            for b, size in zip(own, rounded, strict=True):
                self.pointers[b.name] = at
                at = self._after(at, size)
        self.sized += 1
        self.enter(step)
        scope, self.nests.scope = self.nests.scope, dict(self.nests.scope)
        for inner in step.body:
            self.step(inner)
        self.nests.scope = scope
        self.leave([], [])
        if own:
            code.do(f"call void {self.calls.externals[memory.RELEASE]}(ptr {self.blocks.pop()})")
        self.nests.count = outer

    def _after(self, pointer: str, nbytes: str) -> str:
        return self.code.let(f"getelementptr i8, ptr {pointer}, i64 {nbytes}", "at")

    def repeat(self, step: Repeat) -> None:
        """Steps in a loop; the pointers of buffers that trade places are carried."""
        if not step.extent:
            return
        if step.extent == EXTENT:
            self.counted_repeat(step)
            return
        trips, last_turn = str(step.extent), str(step.extent - 1)
        names = [name for pair in step.swaps for name in pair]
        self.enter(step)
        initial = [self.pointers[name] for name in names]
        last = self.nests.repeat(trips, step.var, ["ptr"] * len(names), initial, self.turns(step, names, last_turn))
        self.leave(names, last)

    def counted_repeat(self, step: Repeat) -> None:
        """As many turns as a number says that is known when it runs, none among them."""
        code, names, count = self.code, [name for pair in step.swaps for name in pair], self.nests.count
        self.enter(step)
        initial = [self.pointers[name] for name in names]
        before, inside, after = code.block, code.fresh("some"), code.fresh("after")
        some = code.let(f"icmp sgt i64 {count}, 0", "any")
        last_turn = code.let(f"sub nsw i64 {count}, 1", "last")
        code.do(f"br i1 {some}, label %{inside}, label %{after}")
        code.start(inside)
        last = self.nests.repeat(count, step.var, ["ptr"] * len(names), initial, self.turns(step, names, last_turn))
        end = code.block
        code.do(f"br label %{after}")
        code.start(after)
        rows = zip(initial, last, strict=True)
        self.leave(names, [code.let(f"phi ptr [ {a}, %{before} ], [ {b}, %{end} ]", "place") for a, b in rows])

    def turns(self, step: Repeat, names: list[str], last_turn: str) -> Callable[[str, list[str]], list[str]]:
        """A turn of a loop of steps, from its number and the pointers to the next pointers."""

        def body(at: str, carried: list[str]) -> list[str]:
            if step.reverse:
                at = self.code.let(f"sub nsw i64 {last_turn}, {at}", "back")
            self.look_after(step)
            self.pointers.update(zip(names, carried, strict=True))
            self.windows(step, at)
            return self.turn(step, names, carried)

        return body

    def windows(self, step: Repeat, at: str) -> None:
        """Let the windows of a turn look where they look in turn ``at``."""
        for w in step.windows:
            size = self.buffers[w.name].dtype.bits // 8
            offset = self.code.let(f"mul nsw i64 {at}, {w.stride * size}", "offset")
            if w.offset:
                offset = self.code.let(f"add nsw i64 {offset}, {w.offset * size}", "offset")
            pointer = self.pointers[w.buffer]
            self.pointers[w.name] = self.code.let(f"getelementptr inbounds i8, ptr {pointer}, i64 {offset}", w.name)

    def repeat_while(self, step: RepeatWhile) -> None:
        code = self.code
        names = [name for pair in step.swaps for name in pair]
        self.enter(step)
        before, head, inside, after = code.block, *map(code.fresh, ("test", "turn", "after"))
        code.do(f"br label %{head}")
        code.start(head)
        phis = len(code.lines)
        carried = ["%" + code.fresh("place") for _ in names]
        seen = self.nests.access.load_one(Place(self.pointers[step.condition], "0", 0), b1, "seen")
        code.do(f"br i1 {seen}, label %{inside}, label %{after}")
        code.start(inside)
        self.look_after(step)
        initial = [self.pointers[name] for name in names]
        following = self.turn(step, names, carried)
        code.do(f"br label %{after if step.once else head}")
        end = code.block
        rows = list(zip(carried, initial, following, strict=True))
        if step.once:
            code.lines[phis:phis] = [f"  {name} = phi ptr [ {first}, %{before} ]" for name, first, _ in rows]
            code.start(after)
            last = ["%" + code.fresh("place") for _ in names]
            for (name, _, then), final in zip(rows, last, strict=True):
                code.do(f"{final} = phi ptr [ {name}, %{head} ], [ {then}, %{end} ]")
            carried = last
        else:
            code.lines[phis:phis] = [
                f"  {name} = phi ptr [ {first}, %{before} ], [ {then}, %{end} ]" for name, first, then in rows
            ]
            code.start(after)
        self.leave(names, carried)

    def turn(self, step: Repeat | RepeatWhile, names: list[str], carried: list[str]) -> list[str]:
        """The steps once; the pointers for the next turn."""
        self.pointers.update(zip(names, carried, strict=True))
        outer, self.nests.scope = self.nests.scope, dict(self.nests.scope)
        for inner in step.body:
            self.step(inner)
        self.nests.scope = outer
        swapped = {a: b for pair in step.swaps for a, b in (pair, pair[::-1])}
        return [self.pointers[swapped[name]] for name in names]

    def enter(self, step: Repeat | RepeatWhile | Counted) -> None:
        """Before steps that run several times: BLAS is kept to one thread if that is good for all that call it.

        It always is where turns are parallel: these have the threads.
        """
        if not self.depth and self.one_blas_thread:
            steps = list(every_step((step,)))
            shared = products_with_threads(steps)
            if shared or any(map(needs_one, steps)):
                alone = [s for s in steps if not any([s is t for t in shared])]
                self.limit(not any(map(gains_by_several, alone)))
        self.depth += 1

    def leave(self, names: list[str], pointers: list[str]) -> None:
        self.depth -= 1
        self.pointers.update(zip(names, pointers, strict=True))
        if not self.depth and not self.to_limit:
            self.limit(False)
