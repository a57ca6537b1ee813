"""Matrix products by cuBLASLt: how rows become columns, and its descriptors, which need no GPU."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.runtime.nvidia import blas
from graphad.backends.loops.ir import Gemm, Matrix
from graphad.errors import DeviceError
from graphad.ir.types import bf16, f16, f32, f64

GEMMS = [
    Gemm(f64, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 0, 3)),
    Gemm(f64, 2, 3, 4, Matrix("a", 0, 2, True), Matrix("b", 0, 3), Matrix("c", 0, 3)),
    Gemm(f64, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 4, True), Matrix("c", 0, 3)),
    Gemm(f64, 5, 7, 1, Matrix("a", 0, 5, True), Matrix("b", 0, 1, True), Matrix("c", 0, 7)),
    Gemm(f64, 2, 3, 4, Matrix("a", 3, 9), Matrix("b", 1, 8, True), Matrix("c", 2, 11)),
    Gemm(f64, 1, 3, 4, Matrix("a", 0, 1), Matrix("b", 0, 3), Matrix("c", 0, 1)),
    Gemm(f64, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 0, 3), 3, 8, 0, 6),
]


def view(buffer, matrix, rows, columns, start):
    """A row-major matrix, as graphad means it."""
    if matrix.transposed:
        rows, columns = columns, rows
    step = buffer.itemsize
    seen = np.lib.stride_tricks.as_strided(
        buffer[matrix.offset + start :], (rows, columns), (matrix.row_stride * step, step)
    )
    return seen.T if matrix.transposed else seen


def by_columns(buffer, operand, offset, k):
    """A column-major matrix, as cuBLASLt means it."""
    step = buffer.itemsize
    seen = np.lib.stride_tricks.as_strided(
        buffer[offset + k * operand.step :], (operand.rows, operand.columns), (step, operand.leading * step)
    )
    return seen.T if operand.transposed else seen


@pytest.mark.parametrize("g", GEMMS)
def test_operands(g, rng):
    a, b, c = [rng.random(400) for _ in range(3)]
    wanted, first = c.copy(), c.copy()
    for k in range(g.batch):
        target = view(wanted, g.c, g.m, g.n, k * g.c_step)
        product = view(a, g.a, g.m, g.k, k * g.a_step) @ view(b, g.b, g.k, g.n, k * g.b_step)
        target[:] = product
    left, right, result = blas.operands(g)
    for k in range(g.batch):
        target = by_columns(first, result, g.c.offset, k)
        product = by_columns(b, left, g.b.offset, k) @ by_columns(a, right, g.a.offset, k)
        target[:] = product
        assert all(o.leading >= o.rows for o in (left, right, result))
    np.testing.assert_allclose(first, wanted, rtol=1e-13)


def attribute(made, kind, handle, attribute, number):
    """What cuBLASLt has noted."""
    value, written = number(-1), ctypes.c_size_t()
    get = getattr(made.library, f"cublasLt{kind}GetAttribute")
    size = ctypes.c_size_t(ctypes.sizeof(value))
    assert get(handle, attribute, ctypes.byref(value), size, ctypes.byref(written)) == 0
    return value.value


needs_library = pytest.mark.skipif(toolkit.cublaslt_path() is None, reason="cuBLASLt is not installed")


@needs_library
@pytest.mark.parametrize(("dtype", "data", "compute"), [(f32, 0, 68), (f64, 1, 70), (f16, 2, 68), (bf16, 14, 68)])
def test_descriptors(dtype, data, compute):
    a, b, c = Matrix("a", 0, 4), Matrix("b", 0, 7, True), Matrix("c", 0, 3)
    made = blas.Descriptors(Gemm(dtype, 2, 3, 4, a, b, c, 5, 8, 21, 6))

    i32, i64 = ctypes.c_int32, ctypes.c_int64
    known = ((0, i32), (2, i64), (3, i64), (4, i64), (5, i32), (6, i64))
    layouts = [[attribute(made, "MatrixLayout", layout, k, n) for k, n in known] for layout in made.layouts]
    assert layouts == [[data, 4, 3, 7, 5, 21], [data, 4, 2, 4, 5, 8], [data, 3, 2, 3, 5, 6]]
    assert [attribute(made, "MatmulDesc", made.product, k, i32) for k in (0, 3, 4, 7)] == [compute, 1, 0, 1]


@needs_library
@pytest.mark.parametrize(("dtype", "data"), [(f16, 2), (bf16, 14)])
def test_descriptors_of_a_wide_result(dtype, data):
    made = blas.Descriptors(Gemm(dtype, 2, 3, 4, *[Matrix(x, 0, 4) for x in "abc"], result=f32))
    assert [attribute(made, "MatrixLayout", layout, 0, ctypes.c_int32) for layout in made.layouts] == [data, data, 0]
    assert attribute(made, "MatmulDesc", made.product, 0, ctypes.c_int32) == 68


@needs_library
@pytest.mark.parametrize(("bias", "relu", "number"), [(None, True, 2), ("v", False, 4), ("v", True, 6)])
def test_epilogues(bias, relu, number):
    a, b, c = Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 0, 3)
    made = blas.Descriptors(Gemm(f32, 2, 3, 4, a, b, c, bias=bias, relu=relu))
    made.set_bias(0x12340)
    assert attribute(made, "MatmulDesc", made.product, 7, ctypes.c_int32) == number
    assert attribute(made, "MatmulDesc", made.product, 8, ctypes.c_void_p) == 0x12340


class Recorder:
    """A library that takes every call, and notes those of interest."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, arguments))
            if name == "cublasLtMatmulAlgoGetHeuristic":
                arguments[-1]._obj.value = 1
            return 0

        return call

    def of(self, name):
        return [arguments for called, arguments in self.calls if called == name]


def test_calls(monkeypatch):
    """Addresses with offsets, second operand first; one plan for products of one form and alignment."""
    library = Recorder()
    monkeypatch.setattr(blas, "toolkit", SimpleNamespace(cublaslt=lambda: library))
    products = blas.CublasLt(stream=99, workspace=1 << 20)
    g = Gemm(f32, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 2, 3), Matrix("c", 64, 3))
    products.gemm(g, 0x1000, 0x2000, 0x3000)
    (call,) = library.of("cublasLtMatmul")
    assert [call[k].value for k in (3, 5, 8, 10, 13, 14, 15)] == [
        0x2008, 0x1000, 0x3100, 0x3100, 1 << 20, blas.WORKSPACE_BYTES, 99,
    ]  # fmt: skip
    alignments = [a[2]._obj.value for a in library.of("cublasLtMatmulPreferenceSetAttribute")[1:]]
    assert alignments == [8, 256, 256, 256]
    same = Gemm(f32, 2, 3, 4, Matrix("x", 0, 4), Matrix("y", 34, 3), Matrix("z", 0, 3))
    products.gemm(same, 0x5000, 0x6000, 0x7000)
    assert len(library.of("cublasLtMatmulDescCreate")) == 1
    products.gemm(same, 0x5000, 0x6000, 0x7004)  # aligned otherwise
    assert len(library.of("cublasLtMatmulDescCreate")) == 2
    batch = replace(same, batch=2, a_step=8, b_step=12, c_step=6)  # the second matrices lie 32, 48 and 24 bytes on
    products.gemm(batch, 0x5000, 0x6000, 0x7000)
    alignments = [a[2]._obj.value for a in library.of("cublasLtMatmulPreferenceSetAttribute")[-4:]]
    assert alignments == [8, 32, 8, 8]


@pytest.mark.parametrize(
    ("found", "chosen"), [([(0, 1)], 0), ([(15, 1), (0, 64 << 20), (0, 7), (0, 8)], 2), ([], None), ([(15, 0)], None)]
)
def test_the_first_algorithm_that_works_is_taken(found, chosen, monkeypatch):
    class Library(Recorder):
        def __getattr__(self, name):
            def heuristic(*arguments):
                for place, (place.state, place.workspace) in zip(arguments[-2]._obj, found, strict=False):
                    pass
                arguments[-1]._obj.value = len(found)
                return 0

            return heuristic if name == "cublasLtMatmulAlgoGetHeuristic" else super().__getattr__(name)

    monkeypatch.setattr(blas, "toolkit", SimpleNamespace(cublaslt=Library))
    product = blas.Descriptors(GEMMS[0])
    if chosen is None:
        with pytest.raises(DeviceError, match="no algorithm"):
            product.algorithm(ctypes.c_void_p(1), (16, 16, 16))
    else:
        algorithm = product.algorithm(ctypes.c_void_p(1), (16, 16, 16))
        assert (algorithm.state, algorithm.workspace) == found[chosen]


@pytest.mark.parametrize("dtype", [f16, bf16])
def test_calls_with_halves(dtype, monkeypatch):
    """Offsets, steps and alignments count in bytes: of factors, and of result and bias."""
    library = Recorder()
    monkeypatch.setattr(blas, "toolkit", SimpleNamespace(cublaslt=lambda: library))
    products = blas.CublasLt(stream=99, workspace=1 << 20)
    g = Gemm(dtype, 2, 3, 4, Matrix("a", 8, 4), Matrix("b", 2, 3), Matrix("c", 64, 3), 2, 8, 12, 6)
    wide = replace(g, result=f32, bias="v", bias_offset=4)
    products.gemm(g, 0x1000, 0x2000, 0x3000)
    products.gemm(wide, 0x1000, 0x2000, 0x3000, 0x4000)
    calls = [[call[k].value for k in (3, 5, 8, 10)] for call in library.of("cublasLtMatmul")]
    assert calls == [[0x2004, 0x1010, 0x3080, 0x3080], [0x2004, 0x1010, 0x3100, 0x3100]]
    alignments = [a[2]._obj.value for a in library.of("cublasLtMatmulPreferenceSetAttribute")]
    assert [alignments[1:5], alignments[6:]] == [[4, 16, 4, 4], [4, 16, 8, 8]]
    data = blas._TYPES[dtype][0]
    kinds = [call[1] for call in library.of("cublasLtMatrixLayoutCreate")]
    assert kinds == [data, data, data, data, data, blas._TYPES[f32][0]]
    (bias,) = [a[2]._obj.value for a in library.of("cublasLtMatmulDescSetAttribute") if a[1] == 8]
    assert bias == 0x4010


def test_calls_with_a_bias(monkeypatch):
    """Its address goes into the descriptor at every call, and before an algorithm is looked for."""
    library = Recorder()
    monkeypatch.setattr(blas, "toolkit", SimpleNamespace(cublaslt=lambda: library))
    products = blas.CublasLt(stream=99, workspace=1 << 20)
    g = Gemm(f32, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 0, 3), bias="v", bias_offset=4)
    products.gemm(g, 0x1000, 0x2000, 0x3000, 0x4000)
    products.gemm(replace(g, bias="w", bias_offset=8, loc="model.py:3"), 0x1000, 0x2000, 0x3000, 0x5010)
    products.gemm(replace(g, relu=True), 0x1000, 0x2000, 0x3000, 0x4000)
    seen = []
    for name, arguments in library.calls:
        if name == "cublasLtMatmulDescSetAttribute" and arguments[1] == 8:
            seen.append(arguments[2]._obj.value)
        elif name in ("cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"):
            seen.append(name.removeprefix("cublasLtMatmul"))
    assert seen == [0x4010, "AlgoGetHeuristic", "", 0x5030, "", 0x4010, "AlgoGetHeuristic", ""]
    assert len(library.of("cublasLtMatmulDescCreate")) == 2
    alignments = [a[2]._obj.value for a in library.of("cublasLtMatmulPreferenceSetAttribute")[1:5]]
    assert alignments == [256, 256, 16, 16]
