"""cuBLASLt on the loopback: its functions read the descriptors they are given, and NumPy multiplies.

The names, numbers and layouts are those of cublasLt.h. Elements are counted by columns. What the real library demands
is demanded: operands as aligned as was promised, a workspace as large as the algorithm wants, pointers in the memory of
the stream's GPU.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import ml_dtypes
import numpy as np

from tests.cuda.loopback.library import Handle, Int, Size, To
from tests.cuda.loopback.machine import Failure, demand, machine

INVALID_VALUE, EXECUTION_FAILED, INTERNAL_ERROR, NOT_SUPPORTED = 7, 13, 14, 15

#: Of each type of data that of NumPy; of operands, result, sums and factors, in which type is computed.
_DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: ml_dtypes.bfloat16}
_COMPUTE = {
    (0, 0, 68, 0): np.float32, (1, 1, 70, 1): np.float64, (2, 2, 68, 0): np.float32, (2, 0, 68, 0): np.float32,
    (14, 14, 68, 0): np.float32, (14, 0, 68, 0): np.float32,
}  # fmt: skip
_TRANSA, _TRANSB, _EPILOGUE, _BIAS = 3, 4, 7, 8
_BATCH_COUNT, _BATCH_OFFSET = 5, 6
_WORKSPACE, _ALIGNMENTS = 1, (5, 6, 7, 8)
_RELU, _ADD_BIAS = 2, 4
#: Bytes of the workspace that products take here, and to what they want their operands aligned at most.
_TAKEN, _WANTED = 1 << 20, 16


class _Thing:
    """A descriptor, a layout or a preference: what it was made with, and its attributes as bytes."""

    def __init__(self, *made):
        self.made = made
        self.attributes = {}

    def get(self, attribute, kind, default):
        data = self.attributes.get(attribute)
        return default if data is None else kind.from_buffer_copy(data).value


class _Algorithm(ctypes.Structure):
    _fields_ = [
        ("alignments", ctypes.c_uint64 * 4),
        ("unused", ctypes.c_uint64 * 4),
        ("workspace", Size),
        ("state", Int),
        ("waves", ctypes.c_float),
        ("reserved", Int * 4),
    ]


FUNCTIONS = {}


def _function(*types):
    """Make a function of Python one of the library's."""

    def register(function):
        def call(*arguments):
            with machine.lock:
                machine.calls.append(function.__name__)
                try:
                    function(*arguments)
                except Failure as failure:
                    return failure.code if failure.code in {INVALID_VALUE, NOT_SUPPORTED} else EXECUTION_FAILED
                except Exception as error:  # noqa: BLE001 - there is C above
                    machine.accidents.append(repr(error))
                    return INTERNAL_ERROR
                return 0

        FUNCTIONS[function.__name__] = ctypes.CFUNCTYPE(Int, *types)(call)
        return function

    return register


@_function(To(Handle))
def cublasLtCreate(handle):
    machine.gpu()
    handle[0] = machine.new(_Thing())


@_function(To(Handle), Int, Int)
def cublasLtMatmulDescCreate(product, compute, scale):
    product[0] = machine.new(_Thing(compute, scale))


@_function(To(Handle), Int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64)
def cublasLtMatrixLayoutCreate(layout, dtype, rows, columns, leading):
    demand(dtype in _DTYPES and leading >= rows, INVALID_VALUE)
    layout[0] = machine.new(_Thing(dtype, rows, columns, leading))


@_function(To(Handle))
def cublasLtMatmulPreferenceCreate(preference):
    preference[0] = machine.new(_Thing())


@_function(Handle)
def cublasLtMatmulPreferenceDestroy(preference):
    machine.drop(preference, _Thing)


@_function(Handle, Int, Handle, Size)
def cublasLtMatmulDescSetAttribute(thing, attribute, value, nbytes):
    machine.find(thing, _Thing).attributes[attribute] = ctypes.string_at(value, nbytes)


@_function(Handle, Int, Handle, Size)
def cublasLtMatrixLayoutSetAttribute(thing, attribute, value, nbytes):
    cublasLtMatmulDescSetAttribute(thing, attribute, value, nbytes)


@_function(Handle, Int, Handle, Size)
def cublasLtMatmulPreferenceSetAttribute(thing, attribute, value, nbytes):
    cublasLtMatmulDescSetAttribute(thing, attribute, value, nbytes)


@_function(*[Handle] * 7, Int, Handle, To(Int))
def cublasLtMatmulAlgoGetHeuristic(handle, product, a, b, c, d, preference, wanted, found, count):
    given = machine.find(preference, _Thing)
    demand(given.get(_WORKSPACE, ctypes.c_uint64, 0) >= _TAKEN, NOT_SUPPORTED)
    promised = [min(given.get(k, ctypes.c_uint32, 256), _WANTED) for k in _ALIGNMENTS]
    result = _Algorithm.from_address(found)
    result.alignments[:] = promised
    result.workspace = _TAKEN
    count[0] = 1


class _Operand:
    """A matrix in the memory of a GPU, as its layout says."""

    def __init__(self, layout, address, memory, transposed=False):
        thing = machine.find(layout, _Thing)
        self.dtype, self.rows, self.columns, self.leading = thing.made
        self.batch = thing.get(_BATCH_COUNT, ctypes.c_int32, 1)
        self.step = thing.get(_BATCH_OFFSET, ctypes.c_int64, 0)
        self.address, self.memory, self.transposed = address, memory, transposed

    @property
    def shape(self):
        return (self.columns, self.rows) if self.transposed else (self.rows, self.columns)

    def view(self, k, *, read_only):
        dtype = np.dtype(_DTYPES[self.dtype])
        span = (self.columns - 1) * self.leading + self.rows
        start = self.address + k * self.step * dtype.itemsize
        data = self.memory.view(start, span * dtype.itemsize, read_only=read_only).view(dtype)
        strides = dtype.itemsize, self.leading * dtype.itemsize
        seen = np.lib.stride_tricks.as_strided(data, (self.rows, self.columns), strides, writeable=not read_only)
        return seen.T if self.transposed else seen


@_function(*[Handle] * 14, Size, Handle)
def cublasLtMatmul(
    handle, product, alpha, a, la, b, lb, beta, c, lc, d, ld, algorithm, workspace, nbytes, stream
):  # fmt: skip
    on, what = machine.stream(stream), machine.find(product, _Thing)
    memory = on.gpu.memory
    transposed = [what.get(k, ctypes.c_int32, 0) == 1 for k in (_TRANSA, _TRANSB)]
    first, second = _Operand(la, a, memory, transposed[0]), _Operand(lb, b, memory, transposed[1])
    result = _Operand(ld, d, memory)
    compute = _COMPUTE.get((first.dtype, result.dtype, *what.made))
    demand(compute is not None and first.dtype == second.dtype, NOT_SUPPORTED)
    demand((c, lc) == (d, ld) and first.batch == second.batch == result.batch, NOT_SUPPORTED)
    demand(first.shape[1] == second.shape[0], INVALID_VALUE)
    demand((first.shape[0], second.shape[1]) == result.shape, INVALID_VALUE)
    chosen = _Algorithm.from_address(algorithm)
    for address, alignment in zip((a, b, c, d), chosen.alignments, strict=True):
        demand(address % alignment == 0, INVALID_VALUE)
    demand(nbytes >= chosen.workspace and workspace % 256 == 0, INVALID_VALUE)
    on.gpu.check(workspace, nbytes)
    number = ctypes.c_double if compute is np.float64 else ctypes.c_float
    factors = [compute(number.from_address(p).value) for p in (alpha, beta)]
    epilogue = what.get(_EPILOGUE, ctypes.c_int32, 1)
    bias = what.get(_BIAS, ctypes.c_void_p, None) if epilogue & _ADD_BIAS else None
    demand(epilogue in {1, _RELU, _ADD_BIAS, _RELU | _ADD_BIAS}, NOT_SUPPORTED)
    if bias is not None:
        demand(bias % chosen.alignments[3] == 0, INVALID_VALUE)

    def multiply():
        with np.errstate(all="ignore"):
            _multiply(first, second, result, factors, bias, epilogue & _RELU, compute)

    on.enqueue(multiply)


def _multiply(first, second, result, factors, bias, relu, compute):
    alpha, beta = factors
    for k in range(result.batch):
        x, y = [o.view(k, read_only=True).astype(compute) for o in (first, second)]
        z = result.view(k, read_only=False)
        total = alpha * (x @ y)
        if beta:
            total += beta * z.astype(compute)
        if bias is not None:
            nbytes = result.rows * z.dtype.itemsize
            total += result.memory.view(bias, nbytes, read_only=True).view(z.dtype).astype(compute)[:, None]
        z[:] = (np.fmax(total, 0) if relu else total).astype(z.dtype)  # as a device may, which does not keep nan


LIBRARY = SimpleNamespace(**FUNCTIONS)
