"""Which steps are kept to one thread of BLAS: products, and routines that call LAPACK.

With two threads a product takes half the time on an idle machine. On a busy one a worker waits for a core, and the
product for the worker: a step of 0.1 ms then takes 20 ms as often as not. Below `WORTH` multiplications the 95th
percentile is worse with two threads, from there on it is no worse.
"""

from __future__ import annotations

from typing import Final

from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import Gemm, RoutineCall, Step

#: OpenBLAS computes with one thread by itself: products of so many multiplications, and of a vector with a matrix of so
#: many elements.
ALONE: Final = 2**18
ALONE_WITH_VECTOR: Final = 9216
#: From so many multiplications on a product is worth OpenBLAS's threads even if there is other work on the cores.
#: Measured on two cores with none, one and two busy processes beside, in single precision, milliseconds of the 95th
#: percentile with one and with two threads: 512 cubed 12 and 43, 28 and 90, 48 and 157; 1024 cubed, which this is, 77
#: and 60, 216 and 189, 313 and 296; 2048 cubed 345 and 336, 1,668 and 1,171, 1,669 and 1,277. A product with a vector
#: waits for memory and gains nothing at any size.
WORTH: Final = 2**30


def needs_one(step: Step) -> bool:
    """Whether OpenBLAS would take several threads for a step that does not gain by them.

    LAPACK's routines are made of products with matrices and with vectors: one of them alone may be large enough.
    """
    match step:
        case Gemm(batch=batch, m=m, n=n, k=k):
            if k and step.has_vector:
                return batch > 0 and m * n * k > ALONE_WITH_VECTOR
            return batch > 0 and ALONE < m * n * k < WORTH
        case RoutineCall():
            return ALONE_WITH_VECTOR < _multiplications(step) < WORTH
        case _:
            return False


def gains_by_several(step: Step) -> bool:
    """Whether a step shall have the threads that OpenBLAS has for it."""
    match step:
        case Gemm(m=m, n=n, k=k):
            return not step.has_vector and m * n * k >= WORTH
        case RoutineCall():
            return _multiplications(step) >= WORTH
        case _:
            return False


def _multiplications(call: RoutineCall) -> int:
    """For one matrix of a batch, about; none, if LAPACK is not called."""
    row, (batch, *sizes) = ROUTINES[call.routine], call.sizes
    return row.cost(1, *sizes) // 2 if row.lapack and batch else 0
