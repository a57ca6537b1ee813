"""Random loop programs: Python, LLVM text and Numba compute the same, bit for bit.

Floats are kept to small whole numbers, on which every operator drawn here is exact in any order of summation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    Operand,
    Position,
    Statement,
    Store,
)
from graphad.ir.types import DType, b1, bf16, f16, f32, f64, i8, i16, i32, i64, literal, u8, u32, u64
from tests.backends.loop_harness import agree, at, nest

DTYPES = [b1, i8, i16, i32, i64, u8, u32, u64, f16, bf16, f32, f64]
EXTENTS = st.sampled_from([0, 1, 2, 3, 5, 13, 16, 33, 67])
SMALL = 8  # bound of the floats
FLOAT_OPS = ["add", "sub", "mul", "maximum", "minimum", "neg", "abs", "floor", "round", "copysign", "rem"]
INTEGER_OPS = ["add", "sub", "mul", "quo", "rem", "neg", "abs", "maximum", "minimum", "and", "or", "xor", "not",
               "shl", "lshr", "ashr"]  # fmt: skip
BOOL_OPS = ["and", "or", "xor", "not", "maximum"]
UNARY = {"neg", "abs", "floor", "round", "not"}
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


@dataclass
class Drawing:
    """A program as it grows: what has been defined so far, and the data of its inputs."""

    draw: Any
    rng: np.random.Generator
    buffers: list[Buffer] = field(default_factory=list)
    data: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    count: int = 0

    def fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def input(self, dtype: DType, size: int) -> str:
        name = self.fresh("x")
        self.buffers.append(Buffer(name, dtype, size, "input"))
        if dtype is b1:
            values = self.rng.integers(0, 2, size)
        elif dtype.is_float:
            values = self.rng.integers(-SMALL, SMALL + 1, size)
        else:
            info = np.iinfo(dtype.numpy)
            edges = np.array([info.min, info.max, 0, 1, 2, 7], dtype.numpy)
            values = self.rng.choice(edges, size)
        self.data[name] = values.astype(dtype.numpy)
        return name

    def output(self, dtype: DType, size: int) -> str:
        name = self.fresh("y")
        self.buffers.append(Buffer(name, dtype, size, "output"))
        return name

    # ---- statements; `scope` maps the names that may be read to their dtypes

    def index(self, extents: dict[str, int]) -> tuple[Index, int]:
        """A random affine index, and the size of a buffer that holds it."""
        terms = []
        low = high = 0
        for var, extent in extents.items():
            stride = self.draw(st.sampled_from([0, 1, 1, 1, 2, -1, 5]))
            if stride:
                terms.append((var, stride))
                reach = stride * max(extent - 1, 0)
                low, high = low + min(reach, 0), high + max(reach, 0)
        return Index(-low, tuple(terms)), high - low + 1

    def loads(self, extents: dict[str, int], scope: dict[str, DType]) -> list[Statement]:
        made: list[Statement] = []
        for _ in range(self.draw(st.integers(1, 3))):
            dtype = self.draw(st.sampled_from(DTYPES))
            index, size = self.index(extents)
            dynamic = None
            if self.draw(st.integers(0, 3)) == 0:
                where, reach = self.index(extents)
                steps = self.input(i64, reach)
                self.data[steps] = self.rng.integers(0, 4, reach)
                dynamic = self.fresh("d")
                made.append(Load(dynamic, steps, where))
                size += 3
            name = self.fresh("a")
            made.append(Load(name, self.input(dtype, size), index, dynamic))
            scope[name] = dtype
        return made

    def operand(self, scope: dict[str, DType], dtype: DType) -> Operand:
        names = [n for n, d in scope.items() if d is dtype]
        if names and self.draw(st.integers(0, 4)):
            return self.draw(st.sampled_from(names))
        if dtype is b1:
            return literal(self.draw(st.booleans()), b1)
        return literal(self.draw(st.integers(0 if dtype.kind == "u" else -3, 9)), dtype)

    def let(self, scope: dict[str, DType], op: str, dtype: DType, *args: Operand) -> Let:
        name = self.fresh("t")
        scope[name] = dtype
        return Let(name, dtype, op, args)

    def compute(self, scope: dict[str, DType], extents: dict[str, int]) -> list[Statement]:
        dtype = self.draw(st.sampled_from(sorted(set(scope.values()), key=lambda d: d.name)))
        kind = self.draw(st.sampled_from(["same", "same", "same", "compare", "select", "cast", "position"]))
        get = lambda d: self.operand(scope, d)
        if kind == "compare":
            return [self.let(scope, self.draw(st.sampled_from(COMPARISONS)), b1, get(dtype), get(dtype))]
        if kind == "select":
            return [self.let(scope, "select", dtype, get(b1), get(dtype), get(dtype))]
        if kind == "cast":
            to = self.draw(st.sampled_from(DTYPES))
            made = [self.let(scope, "cast", to, get(dtype))]
            return made + self.bounded(scope, made[-1].name, to) if to.is_float else list(made)
        if kind == "position" and dtype is not b1:
            name = self.fresh("p")
            scope[name] = dtype
            index = Index(1, tuple((var, self.draw(st.integers(0, 1))) for var in extents))
            return [Position(name, dtype, index), *(self.bounded(scope, name, dtype) if dtype.is_float else ())]
        ops = BOOL_OPS if dtype is b1 else FLOAT_OPS if dtype.is_float else INTEGER_OPS
        op = self.draw(st.sampled_from(ops))
        made = [self.let(scope, op, dtype, *(get(dtype) for _ in range(1 if op in UNARY else 2)))]
        return made + self.bounded(scope, made[-1].name, dtype) if dtype.is_float else list(made)

    def bounded(self, scope: dict[str, DType], name: str, dtype: DType) -> list[Statement]:
        """Bring a float back among the small whole numbers; what it was cannot be read again."""
        del scope[name]
        low, high = (literal(v, dtype) for v in (-SMALL, SMALL))
        finite = self.let(scope, "eq", b1, name, name)
        number = self.let(scope, "select", dtype, finite.name, name, literal(0, dtype))
        del scope[number.name]
        above = self.let(scope, "maximum", dtype, number.name, low)
        del scope[above.name]
        return [finite, number, above, self.let(scope, "minimum", dtype, above.name, high)]

    def carries(self, scope: dict[str, DType]) -> tuple[Carry, ...]:
        made = []
        for _ in range(self.draw(st.integers(0, 2))):
            name, dtype = self.draw(st.sampled_from(sorted(scope.items())))
            if dtype is b1:
                combines = ["and", "or", "max", "min"]
            elif dtype.is_float:
                combines = ["max", "min"] if dtype is bf16 else ["sum", "max", "min"]
            else:
                combines = ["sum", "prod", "max", "min", "and", "or"]
            combine = self.draw(st.sampled_from(combines))
            made.append(Carry(self.fresh("c"), dtype, combine, literal(1, dtype), name))
        return tuple(made)

    def store(self, scope: dict[str, DType], extents: dict[str, int]) -> Statement:
        """Every iteration to a place of its own: row-major, in steps of 1 or 2, perhaps under a mask."""
        name, dtype = self.draw(st.sampled_from(sorted(scope.items())))
        step = self.draw(st.sampled_from([1, 1, 2]))
        terms, stride = [], step
        for var, extent in reversed(extents.items()):
            terms.append((var, stride))
            stride *= max(extent, 1)
        masks = [n for n, d in scope.items() if d is b1]
        mask = self.draw(st.sampled_from(masks)) if masks and self.draw(st.booleans()) else None
        return Store(self.output(dtype, stride), Index(0, tuple(reversed(terms))), name, mask=mask)

    def body(self, scope: dict[str, DType], extents: dict[str, int]) -> list[Statement]:
        made = self.loads(extents, scope)
        for _ in range(self.draw(st.integers(1, 6))):
            made += self.compute(scope, extents)
        return [*made, self.store(scope, extents)]


def random_nest(d: Drawing) -> tuple[Statement, ...]:
    """One to two loops, one of them vector; inner carries are read by the outer body, outer ones stored behind."""
    outer, inner = d.draw(EXTENTS), d.draw(EXTENTS)
    shape = d.draw(st.sampled_from(["one", "inner vector", "outer vector"]))
    scope: dict[str, DType] = {}
    extents = {"i": outer}
    body = d.body(scope, extents)
    if shape != "one":
        inside = dict(scope)
        statements = d.body(inside, {"i": outer, "j": inner})
        carries = d.carries(inside)
        body.append(Loop("j", inner, tuple(statements), carries, shape == "inner vector", d.draw(st.booleans())))
        for c in carries:
            scope[c.name] = c.dtype
            if c.dtype.is_float:
                body += d.bounded(scope, c.name, c.dtype)
        body += d.compute(scope, extents)
        body.append(d.store(scope, extents))
    carries = d.carries(scope)
    loop = Loop("i", outer, tuple(body), carries, shape != "inner vector")
    return (loop, *(Store(d.output(c.dtype, 1), at(), c.name) for c in carries))


@st.composite
def programs(draw: Any) -> tuple[KernelProgram, list[np.ndarray[Any, Any]]]:
    d = Drawing(draw, np.random.default_rng(draw(st.integers(0, 99))))
    steps = tuple(nest(*random_nest(d)) for _ in range(draw(st.integers(1, 2))))
    listed = sorted(d.buffers, key=lambda b: ["input", "output"].index(b.role))
    return KernelProgram("example", tuple(listed), steps), [d.data[b.name] for b in listed if b.role == "input"]


COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=60, **COMMON)
@given(programs())
def test_llvm_agrees_with_python(case: tuple[KernelProgram, list[Any]]) -> None:
    agree(*case, numba=False)


@settings(max_examples=8, **COMMON)
@given(programs())
def test_numba_agrees_with_python(case: tuple[KernelProgram, list[Any]]) -> None:
    agree(*case, natives=(32,))


@pytest.mark.slow
@settings(max_examples=400, **COMMON)
@given(programs())
def test_many_programs_agree(case: tuple[KernelProgram, list[Any]]) -> None:
    agree(*case, numba=False, natives=(16, 32, 64))
