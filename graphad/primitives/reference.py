"""References that NumPy does not have, or not with the digits that compiled programs give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.ir.types import BY_NUMPY, f32, f64


def kernel(name: str) -> Callable[..., Any]:
    """The function ``name`` of `graphad_kernels.math` on arrays: the one definition that compiled programs use too.

    Half precisions are computed in float32.
    """

    def reference(*operands: Any) -> Any:
        from graphad_kernels.math import evaluate  # late: start-up time

        arrays = [np.asarray(x) for x in operands]
        dtype = BY_NUMPY[arrays[0].dtype]
        if dtype.is_float and dtype not in (f32, f64):
            wide = evaluate(name, "f32", *[a.astype(np.float32) for a in arrays])
            return np.asarray(wide).astype(dtype.numpy)
        return evaluate(name, dtype.name, *arrays)

    return reference


def signs(vectors: Any) -> Any:
    """-1 for the columns that eigenvectors and singular vectors are not to point along, else 1."""
    from graphad_kernels.cpu.factorizations import weight  # late: start-up time

    products = np.array([weight(i) for i in range(len(vectors))]) @ vectors.astype(np.float64)
    return np.where(products < 0, -1, 1).astype(vectors.dtype)


def routine(name: str, reads: Sequence[Any], shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> list[Any]:
    """The results of the routine ``name`` of `graphad_kernels.routines`, run in Python: with the choices of LAPACK's.

    All of its buffers must be of one type, or of integers.
    """
    from graphad_kernels.routines import ROUTINES  # late: start-up time

    row = ROUTINES[name]
    inputs = [np.ascontiguousarray(x).ravel() for x in reads]
    dtypes = [inputs[0].dtype if kind == "T" else np.int32 for kind in row.buffers]
    others = [np.zeros(n, d) for n, d in list(zip(row.extents(*sizes), dtypes, strict=True))[len(inputs) :]]
    with np.errstate(all="ignore"):
        row.function(*inputs, *others, *sizes)
    return [x.reshape(shape) for x, shape in zip(others, shapes, strict=False)]
