"""A target of its own: devices of the kind ``interpreted``, whose programs are loops that Python goes through.

It is all that a third target has to bring: memory, programs, and what is shown of them; single operators are those of
`operators`. Iterations of vector loops and parallel turns run backwards: programs must not depend on their order.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from graphad_kernels.routines import ROUTINES

from graphad.backends.loops import explanation, ir
from graphad.backends.loops.text import format_program
from graphad.backends.lower.fuse import lower
from graphad.backends.outcome import GuardFailure
from graphad.backends.routines.host import HostRun
from graphad.device import Device
from graphad.ir.types import EXTENT, Literal, literal
from graphad.passes import applied
from graphad.primitives.effects import printed_lines
from tests.backends.operators import COMBINE, apply

KIND = "interpreted"


class Run:
    """One run of a program over flat arrays: those that are given, and new ones for what it writes."""

    def __init__(self, program, given, host):
        self.declared = {b.name: b for b in program.buffers}
        self.buffers = {b.name: self.blank(b, b.size) for b in program.buffers if not b.per_turn}
        self.buffers |= dict(zip([b.name for b in program.buffers if b.role == "input"], given, strict=True))
        self.host, self.names, self.around, self.turns, self.failed = host, {}, {}, 0, None
        with np.errstate(all="ignore"):
            self.steps(program.steps)
        self.outputs = [self.buffers[b.name] for b in program.buffers if b.role == "output"]

    def blank(self, b, size):
        return np.full(size, np.nan if b.dtype.is_float else 0, b.dtype.numpy)

    def steps(self, steps):
        for step in steps:
            if self.failed is None:
                self.step(step)

    def step(self, step):
        buffers = self.buffers
        match step:
            case ir.LoopNest(body=body):
                self.names = dict(self.around)
                self.statements(body)
            case ir.Copy(target=target, source=source):
                buffers[target][...] = buffers[source]
            case ir.Gemm(m=m, n=n, k=k):
                for turn in range(step.batch):
                    a, b = self.matrix(step.a, m, k, turn * step.a_step), self.matrix(step.b, k, n, turn * step.b_step)
                    self.matrix(step.c, m, n, turn * step.c_step)[...] = a @ b
            case ir.RoutineCall(routine=name, reads=reads, writes=writes, sizes=sizes):
                ROUTINES[name].function(*[buffers[b] for b in (*reads, *writes)], *sizes)
            case ir.HostCall(slot=slot, reads=reads, writes=writes):
                given = zip(reads, self.host.slots[slot].inputs, strict=True)
                results = self.host.answer(slot, [buffers[b].reshape(a.shape).copy() for b, a in given])
                for b, result in zip(writes, results, strict=True):
                    buffers[b][...] = result.reshape(-1)
            case ir.GuardStep(ordinal=ordinal, buffer=buffer, expected=expected):
                if buffers[buffer][0] != expected.value:
                    self.failed = GuardFailure(ordinal, literal(buffers[buffer][0], expected.dtype))
            case ir.Repeat():
                for turn in self.range(step):
                    if step.parallel:
                        self.around = {step.var: turn}
                        buffers |= {b: self.blank(self.declared[b], self.declared[b].size) for b in step.private}
                    for w in step.windows:
                        buffers[w.name] = buffers[w.buffer][w.offset + w.stride * turn :][: self.declared[w.name].size]
                    self.turn(step)
            case ir.RepeatWhile(condition=condition):
                while buffers[condition][0]:
                    self.turn(step)
                    if step.once:
                        break
            case ir.Counted(count=count, body=body):
                self.turns = int(buffers[count][0])
                sized = {n: b.per_turn * self.turns for n, b in self.declared.items() if b.per_turn}
                buffers |= {n: self.blank(self.declared[n], size) for n, size in sized.items()}
                self.steps(body)

    def turn(self, step):
        self.steps(step.body)
        for a, b in step.swaps:
            self.buffers[a], self.buffers[b] = self.buffers[b], self.buffers[a]

    def range(self, loop):
        turns = range(self.turns if loop.extent == EXTENT else loop.extent)
        return turns[::-1] if loop.reverse or getattr(loop, "vector", getattr(loop, "parallel", False)) else turns

    def matrix(self, m, rows, columns, start):
        buffer = self.buffers[m.buffer][m.offset + start :]
        strides = (m.row_stride * buffer.itemsize, buffer.itemsize)
        return np.lib.stride_tricks.as_strided(buffer, (rows, columns), strides[:: -1 if m.transposed else 1])

    def value(self, operand):
        return operand.value if isinstance(operand, Literal) else self.names[operand]

    def position(self, index):
        return index.offset + sum(stride * self.names[var] for var, stride in index.terms)

    def place(self, s):
        place = self.position(s.index) + int(self.names.get(s.dynamic, 0))
        assert 0 <= place < self.buffers[s.buffer].size, s
        return self.buffers[s.buffer][place : place + 1]

    def statements(self, statements):
        for s in statements:
            match s:
                case ir.Let(name=name, dtype=dtype, op=op, args=args):
                    self.names[name] = apply(op, dtype, [self.value(a) for a in args])
                case ir.Position(name=name, dtype=dtype, index=index):
                    self.names[name] = dtype.numpy.type(self.position(index))
                case ir.Load(name=name):
                    self.names[name] = self.place(s)[0]
                case ir.Store(value=value, mask=mask):
                    if mask is None or self.names[mask]:
                        self.place(s)[...] = self.value(value)
                case ir.Loop():
                    self.names |= {c.name: self.value(c.init) for c in s.carries}
                    for i in self.range(s):
                        self.names[s.var] = i
                        self.iteration(s)
                case ir.While(condition=condition):
                    self.names |= {c.name: self.value(c.init) for c in s.carries}
                    while self.names[condition]:
                        self.iteration(s)

    def iteration(self, loop):
        self.statements(loop.body)
        self.names |= {c.name: self.following(c) for c in loop.carries}  # each from the values before

    def following(self, c):
        old, values = self.names[c.name], [self.value(v) for v in c.reads]
        if c.combine == "last":
            return values[0]
        op, args = (COMBINE[c.combine], [old, *values]) if c.factor is None else ("fma", [*values, old])
        return apply(op, c.dtype, args)


class Memory:
    """Bytes on a device, and what gives them out."""

    dlpack_device = None

    def __init__(self, device, array):
        self.device, self.bytes = device, np.array(array).reshape(-1).view(np.uint8)
        self.address, self.nbytes = self.bytes.ctypes.data, self.bytes.size

    def download(self, target):
        target.reshape(-1).view(np.uint8)[...] = self.bytes

    def synchronize(self): ...


class Executable:
    """A graph as a loop program, and runs of it."""

    def __init__(self, graph, device):
        self.graph, self.device, self.lowered = graph, device, lower(graph)

    def run(self, memories, answers=()):
        lowered, host = self.lowered, HostRun(self.lowered.calls, answers)
        run = Run(lowered.program, [m.bytes.view(a.dtype.numpy) for m, a in zip(memories, self.graph.in_avals)], host)
        if run.failed is not None:
            return run.failed._replace(answers=tuple(host.answers))
        outputs = [x.reshape(a.shape) for x, a in zip(run.outputs, lowered.outputs, strict=True)]
        for p in lowered.prints:
            print(*printed_lines([outputs[k] for k in p.outputs], fmt=p.fmt, batch_axes=p.batch_axes), sep="\n")
        return tuple(Memory(self.device, x) for x in outputs[: lowered.n_outputs])


class Target:
    """What the floors above ask for."""

    stages = ("loops",)
    has_architectures, rerolls, has_routines = False, True, True

    def devices(self):
        return (Device(KIND),)

    def memory(self, device):
        return SimpleNamespace(upload=lambda array: Memory(device, array))

    def compile(self, graph, device, passes):
        return Executable(applied(graph, passes), device)

    def show(self, graph, device, passes, stage, architecture=None):
        return format_program(self.compile(graph, device, passes).lowered.program)

    def explain(self, graph, device, passes, architecture=None):
        return explanation.explain(self.compile(graph, device, passes).lowered.program, f"the device {device}")
