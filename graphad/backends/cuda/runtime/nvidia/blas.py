"""Matrix products by cuBLASLt, called through ctypes: its Python bindings depend on half of the toolkit.

cuBLASLt is column-major, programs here are row-major. A row-major matrix is the transpose of a column-major one with
the same memory, and ``C = A B`` is ``C^T = B^T A^T``: the operands are swapped, and nothing is copied.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any, Final

from graphad.backends.cuda import toolkit
from graphad.backends.loops.ir import Gemm, Matrix
from graphad.errors import DeviceError
from graphad.ir.types import DType, bf16, f16, f32, f64

#: Bytes of the workspace of products, which is allocated before anything is captured.
WORKSPACE_BYTES: Final = 32 << 20

# Names and numbers of cublasLt.h, cublas_api.h and library_types.h.
_R_32F, _R_64F, _R_16F, _R_16BF = 0, 1, 2, 14
_COMPUTE_32F, _COMPUTE_64F = 68, 70  # without TF32
_OP_N, _OP_T = 0, 1
_DESC_TRANSA, _DESC_TRANSB, _DESC_EPILOGUE, _DESC_BIAS_POINTER = 3, 4, 7, 8
_EPILOGUE_DEFAULT, _EPILOGUE_RELU, _EPILOGUE_BIAS = 1, 2, 4  # the last two can be added up
_LAYOUT_BATCH_COUNT, _LAYOUT_BATCH_OFFSET = 5, 6
_PREF_WORKSPACE, _PREF_ALIGNMENT_A = 1, 5  # those of B, C and D follow

#: For factors of each dtype: how they are told, the sums, and the numbers these are multiplied by.
_TYPES: Final[dict[DType, tuple[int, int, int]]] = {
    f32: (_R_32F, _COMPUTE_32F, _R_32F),
    f64: (_R_64F, _COMPUTE_64F, _R_64F),
    f16: (_R_16F, _COMPUTE_32F, _R_32F),
    bf16: (_R_16BF, _COMPUTE_32F, _R_32F),
}
_ALIGNED_AT_MOST: Final = 256
_CANDIDATES: Final = 4
_STATUS: Final = {
    1: "not initialised", 3: "out of memory", 7: "invalid value", 8: "not for this architecture",
    13: "execution failed", 14: "internal error", 15: "not supported",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnMajor:
    """One matrix as cuBLASLt sees it: its shape in memory, by columns, and whether it is read transposed."""

    rows: int
    columns: int
    leading: int
    transposed: bool
    step: int


def operands(g: Gemm) -> tuple[ColumnMajor, ColumnMajor, ColumnMajor]:
    """First and second factor and result of the product ``C^T = B^T A^T``, by columns.

    Examples
    --------
    >>> left, right, result = operands(Gemm(f32, 2, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 0, 3)))
    >>> left
    ColumnMajor(rows=3, columns=4, leading=3, transposed=False, step=0)
    """

    def seen(matrix: Matrix, rows: int, columns: int, step: int) -> ColumnMajor:
        # A row-major matrix of rows x columns lies in memory as one of columns x rows by columns.
        if matrix.transposed:
            rows, columns = columns, rows
        return ColumnMajor(columns, rows, max(matrix.row_stride, columns), matrix.transposed, step)

    return seen(g.b, g.k, g.n, g.b_step), seen(g.a, g.m, g.k, g.a_step), seen(g.c, g.m, g.n, g.c_step)


class _Algorithm(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


class Descriptors:
    """cuBLASLt's descriptors of a product; made without a GPU.

    Attributes
    ----------
    product, layouts
        Handles: of the operation, and of first factor, second factor and result.
    one, zero
        The factors of the product and of what lies where its result shall be.
    """

    def __init__(self, g: Gemm) -> None:
        data, compute, scale = _TYPES[g.dtype]
        kinds = data, data, _TYPES[g.c_dtype][0]
        self.library = toolkit.cublaslt()
        first, second, result = operands(g)
        self.product = self._make("MatmulDesc", compute, scale)
        for attribute, operand in ((_DESC_TRANSA, first), (_DESC_TRANSB, second)):
            self._set("MatmulDesc", self.product, attribute, ctypes.c_int32(_OP_T if operand.transposed else _OP_N))
        self._set("MatmulDesc", self.product, _DESC_EPILOGUE, ctypes.c_int32(_epilogue(g)))
        self.layouts: list[ctypes.c_void_p] = []
        for o, kind in zip((first, second, result), kinds, strict=True):
            shape = [ctypes.c_uint64(o.rows), ctypes.c_uint64(o.columns), ctypes.c_int64(o.leading)]
            layout = self._make("MatrixLayout", kind, *shape)
            self._set("MatrixLayout", layout, _LAYOUT_BATCH_COUNT, ctypes.c_int32(g.batch))
            self._set("MatrixLayout", layout, _LAYOUT_BATCH_OFFSET, ctypes.c_int64(o.step))
            self.layouts.append(layout)
        number = ctypes.c_double if scale == _R_64F else ctypes.c_float
        self.one, self.zero = number(1), number(0)

    def set_bias(self, address: int) -> None:
        """Set the address of the bias; cuBLASLt reads it when the product is queued."""
        self._set("MatmulDesc", self.product, _DESC_BIAS_POINTER, ctypes.c_void_p(address))

    def algorithm(self, handle: ctypes.c_void_p, alignments: tuple[int, int, int]) -> _Algorithm:
        """The algorithm that cuBLASLt's heuristic ranks first for operands with these alignments."""
        preference = self._make("MatmulPreference")
        self._set("MatmulPreference", preference, _PREF_WORKSPACE, ctypes.c_uint64(WORKSPACE_BYTES))
        for k, alignment in enumerate((*alignments, alignments[2])):
            self._set("MatmulPreference", preference, _PREF_ALIGNMENT_A + k, ctypes.c_uint32(alignment))
        first, second, result = self.layouts
        found, count = (_Algorithm * _CANDIDATES)(), ctypes.c_int(0)
        try:
            _check(
                self.library.cublasLtMatmulAlgoGetHeuristic(
                    handle, self.product, first, second, result, result, preference, _CANDIDATES,
                    ctypes.byref(found), ctypes.byref(count),
                ),
                "cublasLtMatmulAlgoGetHeuristic",
            )  # fmt: skip
        finally:
            self.library.cublasLtMatmulPreferenceDestroy(preference)
        for candidate in found[: count.value]:  # best first; those that do not apply have an error status
            if candidate.state == 0 and candidate.workspace <= WORKSPACE_BYTES:
                return candidate
        raise DeviceError("cuBLASLt has no algorithm for this matrix product; please report its shapes.")

    def _make(self, kind: str, *arguments: Any) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        name = f"cublasLt{kind}Create"
        _check(getattr(self.library, name)(ctypes.byref(handle), *arguments), name)
        return handle

    def _set(self, kind: str, handle: ctypes.c_void_p, attribute: int, value: Any) -> None:
        name = f"cublasLt{kind}SetAttribute"
        status = getattr(self.library, name)(
            handle, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))
        )
        _check(status, name)


class CublasLt:
    """Matrix products on one stream.

    Parameters
    ----------
    stream
        Its address.
    workspace
        Address of `WORKSPACE_BYTES` of device memory.
    """

    def __init__(self, stream: int, workspace: int) -> None:
        self._stream = ctypes.c_void_p(stream)
        self._workspace = ctypes.c_void_p(workspace)
        self._library = toolkit.cublaslt()
        self._handle = ctypes.c_void_p()
        _check(self._library.cublasLtCreate(ctypes.byref(self._handle)), "cublasLtCreate")
        self._plans: dict[tuple[Gemm, tuple[int, int, int]], tuple[Descriptors, _Algorithm]] = {}

    def gemm(self, g: Gemm, a: int, b: int, c: int, bias: int | None = None) -> None:
        """Queue a product over buffers that start at these addresses; ``bias`` is None where it has none."""
        size, result_size = g.dtype.bits // 8, g.c_dtype.bits // 8
        first, second, result = b + g.b.offset * size, a + g.a.offset * size, c + g.c.offset * result_size
        if bias is not None:
            bias += g.bias_offset * result_size
        # The bias, which is added to its columns, must be aligned as the result is, and so must all matrices of a
        # batch.
        steps = [g.b_step * size, g.a_step * size, g.c_step * result_size] if g.batch > 1 else [0, 0, 0]
        alignments = (
            _alignment(first | steps[0]), _alignment(second | steps[1]), _alignment(result | steps[2] | (bias or 0))
        )  # fmt: skip
        plan, algorithm = self._plan(g, alignments, bias)
        left, right, out = plan.layouts
        status = self._library.cublasLtMatmul(
            self._handle, plan.product, ctypes.byref(plan.one), ctypes.c_void_p(first), left,
            ctypes.c_void_p(second), right, ctypes.byref(plan.zero), ctypes.c_void_p(result), out,
            ctypes.c_void_p(result), out, ctypes.byref(algorithm), self._workspace,
            ctypes.c_size_t(WORKSPACE_BYTES), self._stream,
        )  # fmt: skip
        _check(status, "cublasLtMatmul")

    def _plan(self, g: Gemm, alignments: tuple[int, int, int], bias: int | None) -> tuple[Descriptors, _Algorithm]:
        key = _nameless(g), alignments
        plan = self._plans.get(key)
        descriptors = Descriptors(g) if plan is None else plan[0]
        if bias is not None:
            descriptors.set_bias(bias)
        if plan is None:
            plan = self._plans[key] = descriptors, descriptors.algorithm(self._handle, alignments)
        return plan


def _alignment(address: int) -> int:
    """The greatest power of two that divides an address, up to what matters."""
    return min(address & -address or _ALIGNED_AT_MOST, _ALIGNED_AT_MOST)


def _epilogue(g: Gemm) -> int:
    """The epilogue. Our columns are cuBLASLt's rows, each of which has one bias."""
    return (g.bias is not None) * _EPILOGUE_BIAS + g.relu * _EPILOGUE_RELU or _EPILOGUE_DEFAULT


def _nameless(g: Gemm) -> Gemm:
    """``g`` without the names of its buffers, on which the algorithm does not depend."""
    a, b, c = [replace(m, buffer="", offset=0) for m in (g.a, g.b, g.c)]
    g = replace(g, a=a, b=b, c=c, loc=None)
    return g if g.bias is None else replace(g, bias="", bias_offset=0)


def _check(status: int, name: str) -> None:
    if status:
        raise DeviceError(f"{name} failed: {_STATUS.get(status, 'status')} ({status}).")
