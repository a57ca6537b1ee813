"""Epilogues of matrix products: a bias for each column, and relu, fused into the product.

Where the only reader of a product is an elementwise nest, the product can store what the nest would: this saves a
launch, and a pass through memory. A second reader of the product prevents it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from graphad.backends.cuda.program.ir import FusedGemm, reads, writes
from graphad.backends.loops.ir import (
    Gemm,
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
    is_half,
)
from graphad.ir.types import DType, literal

#: cuBLASLt reads a bias by words of so many bytes.
_BIAS_ALIGNMENT: Final = 16


def with_gemm_epilogues(program: KernelProgram, *, has_gemm: bool, fast_math: bool) -> tuple[Step, ...]:
    """The steps of ``program``, each matrix product with the nest behind it in one where that is possible.

    Parameters
    ----------
    program
        What to fuse.
    has_gemm
        Whether a library computes the products; else it is kernels of our own, which do all that a `FusedGemm` says.
    fast_math
        Assume no NaNs, and round a 16-bit product and its bias together, once.
    """
    users = Counter(name for s in program.steps for name in reads(s) | writes(s))
    own = {b.name for b in program.buffers if b.role == "temporary" and users[b.name] == 2}  # one writes, one reads
    own &= {s.c.buffer for s in program.steps if isinstance(s, Gemm)}
    done: list[Step] = []
    for step in program.steps:
        product = _product_before(step, done, own)
        fused = None if product is None else _fused(product, step)
        if product is None or fused is None or not _allowed(fused, has_gemm=has_gemm, fast_math=fast_math):
            done.append(step)
        else:
            done.remove(product)
            done.append(fused if fused.relu or fused.bias is not None else fused.alone)
    return tuple(done)


def _product_before(step: Step, done: Sequence[Step], own: set[str]) -> Gemm | None:
    """The product whose result is one of ``own`` that ``step`` reads, if it can be moved down to here."""
    wanted = reads(step) & own
    if not wanted:
        return None
    overwritten: set[str] = set()
    for earlier in reversed(done):
        if isinstance(earlier, Gemm) and earlier.c.buffer in wanted:
            return earlier if overwritten.isdisjoint(reads(earlier)) else None
        overwritten |= writes(earlier)
    return None


def _allowed(g: FusedGemm, *, has_gemm: bool, fast_math: bool) -> bool:
    """Whether the fused product keeps the program's meaning, and cuBLASLt has it if it is to compute it."""
    if g.bias is None and not g.relu:
        return True  # only the buffer of the result changes
    if g.bias is not None and is_half(g.c_dtype) and not fast_math:
        return False  # the library adds the bias before rounding, the program after it
    return not has_gemm or _in_library(g, fast_math=fast_math)


def _in_library(g: FusedGemm, *, fast_math: bool) -> bool:
    if g.relu and not fast_math:
        return False  # its documentation says max(x, 0), and nothing of nan
    return g.n > 1 and g.bias_offset * g.c_dtype.bits // 8 % _BIAS_ALIGNMENT == 0


# ---- what a nest does to each element


class _Elements(NamedTuple):
    """The innermost body of perfectly nested loops, and their strides through elements in row-major order."""

    body: tuple[Statement, ...]
    extents: tuple[tuple[str, int], ...]

    def strides(self, count: int) -> dict[str, int] | None:
        """Those of the innermost loops that make ``count`` iterations; None if none do."""
        found: dict[str, int] = {}
        reached = 1
        for var, extent in reversed(self.extents):
            if reached == count:
                break
            if extent > 1:
                found[var] = reached
            reached *= extent
        return found if reached == count else None

    def goes(self, access: Load | Store, strides: dict[str, int] | None) -> bool:
        """Whether an access moves by these strides and nothing else; loops that run once do not count."""
        extents = dict(self.extents)
        moves = {var: stride for var, stride in access.index.terms if stride and extents[var] > 1}
        return access.dynamic is None and moves == strides


def _elements(nest: LoopNest) -> _Elements:
    body, extents = nest.body, list[tuple[str, int]]()
    while len(body) == 1 and isinstance(body[0], Loop) and not body[0].carries:
        extents.append((body[0].var, body[0].extent))
        body = body[0].body
    return _Elements(body, tuple(extents))


def _fused(g: Gemm, step: Step) -> FusedGemm | None:
    """``g`` fused with the nest that reads its result, if the nest is an epilogue that a product can have."""
    size = g.batch * g.m * g.n
    packed = g.c.row_stride == g.n and (g.batch == 1 or g.c_step == g.m * g.n)
    if not isinstance(step, LoopNest) or not g.c_dtype.is_float or not packed or not size or not g.k:
        return None
    elements = _elements(step)
    whole = elements.strides(size)
    store = elements.body[-1] if elements.body else None
    if not isinstance(store, Store) or store.mask is not None or store.buffer in reads(g):
        return None
    made = {s.name: s for s in elements.body if isinstance(s, (Let, Load))}
    value, of_relu = _without_relu(store.value, made, g.c_dtype)
    loads = _summands(value, made)
    result = next((s for s in loads if s.buffer == g.c.buffer), None)
    bias = next((s for s in loads if s is not result), None)
    if len(elements.body) != 2 * len(loads) + of_relu or result is None or result.index.offset != g.c.offset:
        return None  # it holds more than loads, their sum, relu and the store
    if not elements.goes(store, whole) or not elements.goes(result, whole):
        return None
    columns = elements.strides(g.n)
    if bias is not None and (bias.buffer in (g.c.buffer, store.buffer) or not elements.goes(bias, columns)):
        return None
    product: dict[str, Any] = {f.name: getattr(g, f.name) for f in fields(g)}
    product["c"] = Matrix(store.buffer, store.index.offset, g.n)
    if bias is None:
        return FusedGemm(**product, relu=of_relu > 0)
    return FusedGemm(**product, bias=bias.buffer, bias_offset=bias.index.offset, relu=of_relu > 0)


_Made = Mapping[str, Let | Load]


def _let(value: Operand, made: _Made) -> Let | None:
    found = made.get(value) if isinstance(value, str) else None
    return found if isinstance(found, Let) else None


def _without_relu(value: Operand, made: _Made, dtype: DType) -> tuple[Operand, int]:
    """The operand of relu if ``value`` is one, in either form that keeps nan, and the number of its operators."""
    zero = literal(0.0, dtype)
    match _let(value, made):
        case Let(op="maximum", args=(x, other)) | Let(op="maximum", args=(other, x)) if other is zero:
            return x, 1
        case Let(op="select", args=(condition, first, x)) if first is zero:
            test = _let(condition, made)
            if test is not None and test.op == "le" and test.args[0] == x and test.args[1] is zero:
                return x, 2
        case _:
            pass
    return value, 0


def _summands(value: Operand, made: _Made) -> list[Load]:
    """The loaded elements of which ``value`` is the sum, or the single one that it is."""
    found = _let(value, made)
    parts = found.args if found is not None and found.op == "add" else (value,)
    return [s for s in [made.get(p) for p in parts if isinstance(p, str)] if isinstance(s, Load)]
