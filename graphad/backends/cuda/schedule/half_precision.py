"""Matrix products that read and write 16-bit floats, instead of f32 temporaries.

A lowered program widens the factors of such a product into temporaries of f32, and rounds its result from another: that
is what the product means, and all that a CPU has. Tensor cores multiply 16-bit floats, and sum in f32. So a temporary
is narrowed to 16 bits where this loses nothing:

- all values stored there were widened from 16 bits, and products that read it have two such factors, or
- products of such factors store there, and all its readers round to 16 bits.

Other readers of the first kind widen what they load. A temporary that thereby becomes a copy of another buffer is
eliminated.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from graphad.backends.cuda.program.ir import reads, writes
from graphad.backends.loops.ir import (
    Buffer,
    Gemm,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Operand,
    Statement,
    Step,
    Store,
    While,
)
from graphad.backends.loops.rewrites import Names, alive, loops_of, names_of, renamed, used
from graphad.backends.loops.visit import bare, rebuilt, replaced, walk
from graphad.ir.types import DType, Literal, bf16, f16, f32, literal

#: A copy is eliminated only if its source is as well aligned, to words of so many bytes.
_WORD: Final = 16


def with_half_products(program: KernelProgram) -> KernelProgram:
    """``program`` with products of f16 and bf16; results are the same up to the order of sums."""
    for dtype in (f16, bf16):
        narrow = _narrow(program, dtype)
        if narrow:
            program = _without_copies(_narrowed(program, narrow, dtype), dtype)
    return program


# ---- which temporaries lose nothing in 16 bits


class _Values:
    """The values of a nest, and which of them were widened from ``dtype``."""

    def __init__(self, body: Sequence[Statement], buffers: Iterable[Buffer], dtype: DType) -> None:
        self.dtype = dtype
        self.statements = tuple(walk(body))
        self.made = {s.name: s for s in self.statements if isinstance(s, (Let, Load))}
        of_buffers = {b.name: b.dtype for b in buffers}
        self.narrow = {n for n, s in self.made.items() if isinstance(s, Let) and s.dtype is dtype}
        self.narrow |= {n for n, s in self.made.items() if isinstance(s, Load) and of_buffers[s.buffer] is dtype}
        loops = [s for s in self.statements if isinstance(s, (Loop, While))]
        self.narrow |= {c.name for s in loops for c in s.carries if c.dtype is dtype}

    def widens(self, s: Statement) -> bool:
        """Whether ``s`` widens a value of ``dtype`` to f32."""
        return isinstance(s, Let) and s.op == "cast" and s.dtype is f32 and s.args[0] in self.narrow

    def rounds(self, s: Statement) -> bool:
        """Whether ``s`` rounds a value to ``dtype``."""
        return isinstance(s, Let) and s.op == "cast" and s.dtype is self.dtype

    def exact(self, buffers: set[str]) -> set[str]:
        """Names of the values that ``dtype`` holds exactly, provided that it holds all elements of ``buffers``."""
        found: set[str] = set()
        for s in self.made.values():
            match s:
                case Load(buffer=buffer):
                    holds = buffer in buffers
                case Let(op="select", args=(_, *chosen)):
                    holds = all([self.is_exact(x, found) for x in chosen])
                case _:
                    holds = self.widens(s)
            if holds:
                found.add(s.name)
        return found

    def is_exact(self, value: Operand, exact: set[str]) -> bool:
        """Whether ``dtype`` holds ``value`` exactly, given the names of the values that it does."""
        if isinstance(value, Literal):
            return value is literal(literal(value.item(), self.dtype).item(), value.dtype)
        return value in exact

    def not_only_rounded(self) -> set[str]:
        """The buffers with a load whose value is used other than by rounding it."""
        others = [bare(s) for s in self.statements if not self.rounds(s)]
        names = used(others)
        return {s.buffer for s in self.statements if isinstance(s, Load) and s.name in names}


def _narrow(program: KernelProgram, dtype: DType) -> set[str]:
    """The temporaries that can be narrowed to ``dtype``."""
    products = [s for s in program.steps if isinstance(s, Gemm)]
    nests = [_Values(s.body, program.buffers, dtype) for s in program.steps if products and isinstance(s, LoopNest)]
    if not any(nest.narrow for nest in nests):
        return set()
    others = [s for s in program.steps if not isinstance(s, (Gemm, LoopNest))]
    wide = {b.name for b in program.buffers if b.role == "temporary" and b.dtype is f32}
    wide = wide.difference(*[reads(s) | writes(s) for s in others])
    stores = [(k, s) for k, n in enumerate(nests) for s in n.statements if isinstance(s, Store)]
    made = {g.c.buffer for g in products}
    widened = {s.buffer for _, s in stores if not isinstance(s.value, Literal)}
    exact = (wide & widened) - made
    results = (wide & made) - {s.buffer for _, s in stores}
    results = results.difference(*[n.not_only_rounded() for n in nests])
    while True:
        names = [n.exact(exact) for n in nests]
        lossy = {s.buffer for k, s in stores if not nests[k].is_exact(s.value, names[k])}
        mixed = [g for g in products if g.a.buffer not in exact or g.b.buffer not in exact]
        lossy |= {m.buffer for g in mixed for m in (g.a, g.b, g.c)}
        if lossy.isdisjoint(exact | results):
            return exact | results
        exact, results = exact - lossy, results - lossy


# ---- the program over them


def _narrowed(program: KernelProgram, narrow: set[str], dtype: DType) -> KernelProgram:
    """``program`` with the temporaries ``narrow`` narrowed to ``dtype``."""
    nests = [s for s in program.steps if isinstance(s, LoopNest)]
    names = Names([*[b.name for b in program.buffers], *[n for s in nests for n in names_of(s.body)]])

    def one(step: Step) -> Step:
        match step:
            case LoopNest():
                values = _Values(step.body, program.buffers, dtype)
                return replace(step, body=_Rewriter(values, narrow, names).run(step.body))
            case Gemm() if step.a.buffer in narrow:
                return replace(step, dtype=dtype, result=None if step.c.buffer in narrow else f32)
            case _:
                return step

    buffers = tuple([replace(b, dtype=dtype) if b.name in narrow else b for b in program.buffers])
    return replace(program, buffers=buffers, steps=tuple([one(s) for s in program.steps]))


class _Rewriter:
    """Rewrites one nest for buffers that were narrowed to 16 bits."""

    def __init__(self, values: _Values, narrow: set[str], names: Names) -> None:
        self.values = values
        self.narrow = narrow
        self.exact = values.exact(narrow)
        self.names = names
        self.origin: dict[str, str] = {}  # of values in f32: the 16-bit value that they were widened from
        self.instead: dict[str, str] = {}  # of values that were widened and rounded again: what they were before

    def run(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        """The nest."""
        return _alive(renamed(replaced(body, self._one), self.instead))

    def _one(self, s: Statement) -> Sequence[Statement]:
        match s:
            case Load() if s.buffer in self.narrow:
                half = self.names.fresh("half")
                self.origin[s.name] = half
                return (replace(s, name=half), Let(s.name, f32, "cast", (half,), s.loc))
            case Let() if self.values.widens(s) and isinstance(s.args[0], str):
                self.origin[s.name] = self.instead.get(s.args[0], s.args[0])
                return (s,)
            case Let() if self.values.rounds(s) and s.args[0] in self.origin:
                self.instead[s.name] = self.origin[str(s.args[0])]
                return ()
            case Store() if s.buffer in self.narrow:
                return (replace(s, value=self._half(s.value)),)
            case Let(op="select", args=(condition, *chosen)) if s.name in self.exact:
                half = self.origin[s.name] = self.names.fresh("half")
                args = (condition, *[self._half(x) for x in chosen])
                return (s, Let(half, self.values.dtype, "select", args, s.loc))
            case _:
                return (s,)

    def _half(self, value: Operand) -> Operand:
        """An exact value in 16 bits."""
        return literal(value.item(), self.values.dtype) if isinstance(value, Literal) else self.origin[value]


def _alive(body: Iterable[Statement], wanted_after: Iterable[str] = ()) -> tuple[Statement, ...]:
    """``body`` without dead values, and without the loops that are then empty."""
    kept: list[Statement] = []
    for s in body:
        if isinstance(s, (Loop, While)):
            s = rebuilt(s, _alive(s.body, used((bare(s),))))  # carries read what the body computes
        if not isinstance(s, Loop) or s.body or s.carries:
            kept.append(s)
    return alive(kept, wanted_after)


# ---- copies that are left


class _Origin(NamedTuple):
    """The source of a copy: the buffer that holds the same elements, at an offset."""

    buffer: str
    distance: int


def _without_copies(program: KernelProgram, dtype: DType) -> KernelProgram:
    """``program`` without the temporaries of ``dtype`` that are copies; their sources are read instead."""
    copies = _Copies(program.steps)
    gone = {b.name for b in program.buffers if b.role == "temporary" and b.dtype is dtype and copies.redirect(b)}
    steps = tuple([s for s in copies.steps if not isinstance(s, LoopNest) or s.body])
    return replace(program, buffers=tuple([b for b in program.buffers if b.name not in gone]), steps=steps)


class _Copies:
    """The steps of a program, and by which of them each buffer is read and written."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)
        self.readers: defaultdict[str, set[int]] = defaultdict(set)
        self.writers: defaultdict[str, set[int]] = defaultdict(set)
        for k, step in enumerate(self.steps):
            for name in reads(step):
                self.readers[name].add(k)
            for name in writes(step):
                self.writers[name].add(k)

    def redirect(self, copy: Buffer) -> bool:
        """Redirect the readers of ``copy`` to its source, and drop it; False if that cannot be done."""
        origin = self._origin(copy)
        if origin is None:
            return False
        for k in self.readers[copy.name] | self.writers[copy.name]:
            self.steps[k] = _redirected(self.steps[k], copy.name, origin)
        self.readers[origin.buffer] |= self.readers.pop(copy.name, set())
        return True

    def _origin(self, copy: Buffer) -> _Origin | None:
        """The source of a temporary, if its elements stay there unchanged until the temporary's last reader."""
        if len(self.writers[copy.name]) != 1:
            return None
        (k,) = self.writers[copy.name]
        nest = self.steps[k]
        readers = [self.steps[r] for r in self.readers[copy.name]]
        if not isinstance(nest, LoopNest) or not all(isinstance(s, (LoopNest, Gemm)) for s in readers):
            return None
        stores = [s for s in walk(nest.body) if isinstance(s, Store)]
        once = {n for n, count in Counter([s.buffer for s in stores]).items() if count == len(self.writers[n]) == 1}
        store = next(s for s in stores if s.buffer == copy.name)
        if copy.name not in once or store.mask is not None or store.dynamic is not None:
            return None
        loads = [s for s in walk(nest.body) if isinstance(s, Load) and s.name == store.value]
        found: list[Load | Store] = [s for s in loads if all(w < k for w in self.writers[s.buffer])]
        if k not in self.readers[copy.name]:  # else it might be read there before the other store
            others = _beside(nest.body, store)
            found += [s for s in others if s.value == store.value and s.mask is None and s.buffer in once]
        for place in found:
            distance = place.index.offset - store.index.offset
            aligned = distance * copy.dtype.bits // 8 % _WORD == 0
            if place.dynamic is None and aligned and _moves(place.index) == _moves(store.index):
                return _Origin(place.buffer, distance)
        return None


def _beside(body: Sequence[Statement], store: Store) -> list[Store]:
    """The other stores in the body that holds ``store``."""
    if any(s is store for s in body):
        return [s for s in body if isinstance(s, Store) and s is not store]
    return [found for s in loops_of(body) for found in _beside(s.body, store)]


def _moves(index: Index) -> dict[str, int]:
    return {var: stride for var, stride in index.terms if stride}


def _redirected(step: Step, name: str, origin: _Origin) -> Step:
    """``step`` reading the source of the copy ``name``, without the stores that make the copy."""

    def one(s: Statement) -> Sequence[Statement]:
        match s:
            case Load() if s.buffer == name:
                index = replace(s.index, offset=s.index.offset + origin.distance)
                return (replace(s, buffer=origin.buffer, index=index),)
            case Store() if s.buffer == name:
                return ()
            case _:
                return (s,)

    def factor(m: Matrix) -> Matrix:
        return replace(m, buffer=origin.buffer, offset=m.offset + origin.distance) if m.buffer == name else m

    match step:
        case LoopNest():
            return replace(step, body=_alive(replaced(step.body, one)))
        case Gemm():
            return replace(step, a=factor(step.a), b=factor(step.b))
        case _:
            raise AssertionError(f"no step that reads a copy: {step}")
