"""Matrix products on every engine: matrices, rows, columns, batches, wherever they lie; against NumPy in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from graphad.backends.cpu.emit import emit
from graphad.backends.loops.ir import Copy, Gemm, KernelProgram, Matrix
from graphad.ir.types import DType, f32, f64
from tests.backends.loop_harness import agree, buffers, program, run_llvm, run_numba, run_python, same

names = pytest.mark.parametrize
THIN = [(60, 1, 9), (1, 70, 32), (9, 1, 40), (1, 30, 7)]  # one of the orders of each is written as loops
SIZES = [
    (1, 1, 1),
    (1, 1, 9),
    (1, 5, 4),
    (6, 1, 3),
    (1, 40, 33),
    (70, 1, 17),
    (4, 1, 1),
    (1, 4, 1),
    (3, 5, 4),
    (33, 20, 9),
]
EMPTY = [(0, 3, 2), (3, 0, 2), (0, 1, 2), (1, 0, 2), (3, 2, 0), (3, 1, 0), (1, 3, 0), (0, 1, 9), (1, 0, 9), (20, 1, 0)]


class Case:
    """A product of small integers, exact in every dtype, over matrices that lie apart in memory; c is nan before."""

    def __init__(
        self,
        m: int,
        n: int,
        k: int,
        dtype: DType,
        *,
        ta: bool,
        tb: bool,
        batch: int = 1,
        gap: int = 2,
        share: str = "",
        number: int = 0,
        symmetric: bool = False,
    ) -> None:
        rng = np.random.default_rng(m + 10 * n + 100 * k)
        self.shape, self.gap, self.first = (batch, m, n), gap, 3
        a, b = (rng.integers(-9, 10, (batch, *shape)).astype(np.float64) for shape in ((m, k), (k, n)))
        a, b = (x[:1] if name in share else x for name, x in (("a", a), ("b", b)))
        b = a.swapaxes(1, 2) if symmetric else b
        self.want = np.broadcast_to(a @ b, self.shape)
        left, right = self.laid_out(a, ta, dtype), self.laid_out(b, tb, dtype)
        row, size = n + gap, 3 + batch * m * (n + gap)
        a_name, b_name, c_name, d_name = (f"{name}{number}" for name in "abcd")
        steps = (x[0].size and (y.size - 3) // len(x) for x, y in ((a, left), (b, right)))
        a_step, b_step = (0 if name in share else step for name, step in zip("ab", steps, strict=True))
        g = Gemm(
            dtype, m, n, k,
            Matrix(a_name, 3, (m if ta else k) + gap, ta), Matrix(b_name, 3, (k if tb else n) + gap, tb),
            Matrix(c_name, 3, row),
            batch=batch, a_step=a_step, b_step=b_step, c_step=m * row,
        )  # fmt: skip
        if symmetric:
            g = replace(g, b=replace(g.a, transposed=tb), b_step=g.a_step, symmetric=True)
        self.inputs = [left, right, np.full(size, np.nan, dtype.numpy)]
        self.program = program(
            buffers("input", **{a_name: (dtype, left.size), b_name: (dtype, right.size), d_name: (dtype, size)}),
            buffers("output", **{c_name: (dtype, size)}),
            Copy(c_name, d_name),
            g,
        )

    def laid_out(self, x: np.ndarray, transposed: bool, dtype: DType) -> np.ndarray:
        """The memory of a batch of matrices; what is between them is nan."""
        x = x.swapaxes(1, 2) if transposed else x
        padded = np.full((*x.shape[:2], x.shape[2] + self.gap), np.nan)
        padded[:, :, : x.shape[2]] = x
        return np.concatenate([np.full(self.first, np.nan), padded.ravel()]).astype(dtype.numpy)

    def check(self, c: np.ndarray) -> None:
        assert np.isnan(c[: self.first]).all()
        rows = c[self.first :].reshape(*self.shape[:2], self.shape[2] + self.gap)
        np.testing.assert_array_equal(rows[:, :, : self.shape[2]], self.want)
        assert np.isnan(rows[:, :, self.shape[2] :]).all()


@names("dtype", [f32, f64], ids=str)
@names(("m", "n", "k"), [*SIZES, *THIN, *EMPTY])
def test_products(m: int, n: int, k: int, dtype: DType) -> None:
    """Every order of both factors, close together and apart, alone and in batches, of which one may be the same."""
    for ta, tb, batch, gap in product((False, True), (False, True), (1, 3), (0, 2)):
        for share in ("", "a", "b") if batch > 1 else ("",):
            case = Case(m, n, k, dtype, ta=ta, tb=tb, batch=batch, gap=gap, share=share)
            status, (c,) = run_llvm(case.program, case.inputs)
            assert status == 0
            case.check(c)


@names("dtype", [f32, f64], ids=str)
@names(("m", "n", "k"), [(6, 1, 3), (1, 5, 4), (3, 5, 4), (3, 1, 0)])
def test_products_in_numba(m: int, n: int, k: int, dtype: DType) -> None:
    """Every order of both factors, as one program: Numba takes long to compile each."""
    orders = enumerate(product((False, True), repeat=2))
    every = [Case(m, n, k, dtype, ta=ta, tb=tb, batch=2, number=number) for number, (ta, tb) in orders]
    whole, inputs = together(every)
    for outputs in (run_numba(whole, inputs)[1], agree(whole, inputs, numba=False)):
        for case, c in zip(every, outputs, strict=True):
            case.check(c)


def together(every: list[Case]) -> tuple[KernelProgram, list[np.ndarray]]:
    """One program of several, and its inputs."""
    parts = [(case.program.buffers, case.program.steps) for case in every]
    in_order = sorted([b for buffers, _ in parts for b in buffers], key=lambda b: b.role)  # inputs before outputs
    return program(in_order, *[step for _, steps in parts for step in steps]), [x for c in every for x in c.inputs]


@names("dtype", [f32, f64], ids=str)
@names(("n", "k"), [(1, 1), (7, 5), (8, 3), (17, 1), (23, 40), (40, 0), (0, 3)])
def test_symmetric_products(n: int, k: int, dtype: DType) -> None:
    """One triangle and its mirror image, and nothing beside the result is touched."""
    for transposed, batch, gap in product((False, True), (1, 3), (0, 2)):
        case = Case(n, n, k, dtype, ta=transposed, tb=not transposed, batch=batch, gap=gap, symmetric=True)
        status, (c,) = run_llvm(case.program, case.inputs)
        assert status == 0
        case.check(c)


@names("dtype", [f32, f64], ids=str)
def test_symmetric_products_in_numba(dtype: DType) -> None:
    orders = enumerate(product((False, True), ((9, 5), (3, 0))))
    every = [
        Case(n, n, k, dtype, ta=t, tb=not t, batch=2, gap=1, number=i, symmetric=True) for i, (t, (n, k)) in orders
    ]
    for run in (run_numba, run_python):
        for case, c in zip(every, run(*together(every))[1], strict=True):
            case.check(c)


def routines(m: int, n: int, k: int, dtype: DType = f64, *, ta: bool = False, tb: bool = False) -> tuple[str, ...]:
    return emit(Case(m, n, k, dtype, ta=ta, tb=tb).program, lanes_bytes=64).externals


def test_a_product_with_a_vector_is_no_product_of_matrices() -> None:
    assert routines(7, 1, 5) == routines(1, 7, 5) == routines(1, 1, 5) == ("dgemv",)
    assert routines(7, 1, 5, f32) == ("sgemv",)
    assert routines(7, 2, 5) == ("dgemm",)
    assert routines(7, 1, 0) == ("dgemm",), "it makes zeros where there is nothing to sum"


def test_matrices_in_short_rows_are_loops() -> None:
    for thin in (9, 32):
        assert routines(60, 1, thin) == routines(1, 60, thin, tb=True) == ()
        assert routines(thin, 1, 60, ta=True) == routines(1, thin, 60) == ()
        assert routines(thin, 1, 60) == routines(60, 1, thin, ta=True) == ("dgemv",), "these lie in long rows"
    assert routines(60, 1, 8) == routines(60, 1, 33) == ("dgemv",)
    assert routines(60, 2, 9) == ("dgemm",)


@names("dtype", [f32, f64], ids=str)
@names("special", [np.nan, np.inf, -0.0, 1e-310])
def test_special_values_arrive(dtype: DType, special: float) -> None:
    """In the rows that they stand in, and in no others."""
    m, k = 40, 30
    a, x = np.ones((m, k), dtype.numpy), np.ones(k, dtype.numpy)
    a[7, 3] = special
    for transposed in (False, True):
        row = m if transposed else k
        g = Gemm(dtype, m, 1, k, Matrix("a", 0, row, transposed), Matrix("x", 0, 1), Matrix("c", 0, 1))
        p = program(buffers("input", a=(dtype, m * k), x=(dtype, k)), buffers("output", c=(dtype, m)), g)
        _, (c,) = run_llvm(p, [np.ascontiguousarray(a.T if transposed else a).ravel(), x])
        same(c, (a.astype(np.float64) @ x.astype(np.float64)).astype(dtype.numpy))
