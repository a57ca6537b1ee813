"""A launch as one entry of the module: its parameters, its shared memory, and which blocks run which kernel.

The blocks of a bundle find their part by comparing their number with where parts begin: all threads of a block branch
alike, so that barriers within a part are safe. Parts of one kind share their code (`deduplication`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from graphad.backends.cuda.program.deduplication import Kind, kinds_of
from graphad.backends.cuda.program.ir import Bundle, Kernel, reads, writes
from graphad.backends.cuda.ptx.group import SharedMemory
from graphad.backends.cuda.ptx.kernel import GLOBAL, KernelEmitter
from graphad.backends.cuda.ptx.lines import LocatedCode, SourceLines
from graphad.backends.loops.ir import Buffer
from graphad.backends.loops.visit import walk
from graphad.ir.loc import Loc


@dataclass(frozen=True, slots=True)
class KernelText:
    """LLVM text of one entry, the module-level definitions that it needs, and its dynamic shared memory."""

    text: str
    globals: tuple[str, ...]
    declarations: tuple[str, ...]
    dynamic_shared: int


def emit_launch(
    launch: Kernel | Bundle, buffers: Mapping[str, Buffer], lines: SourceLines | None, *, flush_denormals: bool
) -> KernelText:
    """The text of ``launch``, whose attributes are ``#0``; ``lines`` collects the user's lines, if wanted."""
    return _Entry(launch, buffers, lines, flush_denormals).run()


class _Entry:
    """One function under construction."""

    def __init__(
        self, launch: Kernel | Bundle, buffers: Mapping[str, Buffer], lines: SourceLines | None, flush_denormals: bool
    ) -> None:
        self.flush_denormals = flush_denormals
        self.launch = launch
        self.buffers = buffers
        self.lines = lines
        self.scope = lines.scope(launch.name, _line_of(launch)) if lines else None
        self.code = LocatedCode()
        self.code.fresh("entry")
        self.shared = SharedMemory(f"{launch.name}_shared")
        self.labels: dict[int, str] = {}  # of the code for the part that begins with a block
        self.ways: dict[int, _Way] = {}
        self.parameters = {name: "%" + self.code.fresh(name) for name in launch.parameters}

    def run(self) -> KernelText:
        code, launch = self.code, self.launch
        if self.lines is not None and self.scope is not None:
            code.location = self.lines.location(self.scope, _line_of(launch))
        block = code.call("llvm.nvvm.read.ptx.sreg.ctaid.x", "i32", [], "block")
        kinds = kinds_of(launch, self.buffers)
        for kind in kinds:
            label = code.fresh("part")
            self.labels.update({own.start: label for _, own in kind.members})
        self.choose(launch.ranges, block)
        for kind in kinds:
            self.kind(kind)
        header = f"define ptx_kernel void @{launch.name}({', '.join(self.parameter_list())}) #0 {self.limits()}"
        scope = "" if self.scope is None else f" !dbg !{self.scope}"
        text = "\n".join([f"{header}{scope} {{", "entry:", *code.lines, "}"])
        return KernelText(text, tuple(self.shared.definition()), tuple(code.declarations), self.shared.dynamic_bytes)

    def limits(self) -> str:
        """Metadata with the number of threads of a block, which limits the registers of a thread."""
        return f'"nvvm.maxntid"="{self.launch.threads}"'

    def parameter_list(self) -> list[str]:
        """Pointers; LLVM loads through the non-coherent cache (``ld.global.nc``) what it knows to be read-only.

        Memory through which threads communicate must not be ``noalias``: barriers would not order accesses to it.
        """
        read, written = reads(self.launch), writes(self.launch)
        rows = []
        for name, text in self.parameters.items():
            flags = " noalias readonly" if name not in written else "" if name in read else " noalias"
            rows.append(f"{GLOBAL}{flags} {text}")
        return rows

    def choose(self, parts: Sequence[tuple[Kernel, range]], block: str) -> None:
        """Branch to the part of this block, by binary search."""
        code = self.code
        if len(parts) > 1:
            half = len(parts) // 2
            before, behind = code.fresh("before"), code.fresh("behind")
            test = code.let(f"icmp ult i32 {block}, {parts[half][1].start}", "is_before")
            code.do(f"br i1 {test}, label %{before}, label %{behind}")
            for label, some in ((before, parts[:half]), (behind, parts[half:])):
                code.start(label)
                self.choose(some, block)
            return
        ((part, own),) = parts
        if own.start:
            block = code.let(f"sub nuw nsw i32 {block}, {own.start}", "block")
        self.ways[own.start] = _Way(code.block, part, block)
        code.do(f"br label %{self.labels[own.start]}")

    def kind(self, kind: Kind) -> None:
        """The code that all parts of a kind share, after the branches to them."""
        code, kernel = self.code, kind.kernel
        ways = [self.ways[own.start] for _, own in kind.members]
        code.start(self.labels[kind.members[0][1].start])
        block, *pointers = [
            self.joined("i32", [(w.block, w.label) for w in ways], "block"),
            *[
                self.joined(GLOBAL, [(self.parameters[w.part.parameters[k]], w.label) for w in ways], name)
                for k, name in enumerate(kernel.parameters)
            ],
        ]
        self.shared.overlay()
        lines = None if self.lines is None else (self.lines, self.scope)
        places = dict(zip(kernel.parameters, pointers, strict=True))
        emitter = KernelEmitter(kernel, self.buffers, code, places, self.shared, lines, self.flush_denormals)
        units = None
        if kind.varies:
            counts = [(str(w.part.points // w.part.lanes), w.label) for w in ways]
            units = self.joined(emitter.index_type, counts, "units")
        emitter.run(block, units)

    def joined(self, kind: str, ways: Sequence[tuple[str, str]], hint: str) -> str:
        """A phi of the values from each branch to this kind."""
        if len({text for text, _ in ways}) == 1:
            return ways[0][0]
        return self.code.let(f"phi {kind} {', '.join([f'[ {text}, %{label} ]' for text, label in ways])}", hint)


class _Way(NamedTuple):
    """A branch to a part: its label, and the text of the block's number within the part."""

    label: str
    part: Kernel
    block: str


def _line_of(launch: Kernel | Bundle) -> Loc:
    """The location of a launch: its own, or that of its first statement that has one."""
    locs = [launch.loc, *[loc for part in launch.parts for loc in (part.loc, *[s.loc for s in walk(part.body)])]]
    return next((loc for loc in locs if loc is not None), None)
