"""Wrong uses of arrays and indices: name -> (the use, its error, what the message says)."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.errors import PrecisionWarning

V = gnp.array([1.0, 2.0, 3.0])
M = gnp.ones((2, 3))


WRONG = {
    # shapes and dtypes
    "sum of shapes that do not fit": (
        lambda: V + gnp.ones(4),
        TypeError,
        r"add got shapes \(3,\) and \(4,\), which do not broadcast",
    ),
    "product of rows and a column": (
        lambda: graphad.grad(lambda x: (x * gnp.ones(8)).sum())(gnp.ones((8, 3))),
        TypeError,
        r"multiply got shapes \(8,3\) and \(8,\).*Write y\[:, None\] to repeat y along axis 1",
    ),
    "dot of sizes that do not fit": (
        lambda: gnp.dot(M, gnp.ones(4)),
        TypeError,
        r"dot got f32\[2,3\] and f32\[4\]: axis -1 of the first, of size 3, must equal",
    ),
    "matmul of sizes that do not fit": (
        lambda: graphad.grad(lambda x: (M @ x).sum())(gnp.ones(4)),
        TypeError,
        r"matmul got f32\[2,3\] and f32\[4\]",
    ),
    "matmul of a number": (lambda: V @ 2.0, ValueError, r"write x \* y for scalars"),
    "einsum of sizes that do not fit": (
        lambda: gnp.einsum("ij,jk->ik", M, M),
        ValueError,
        "'j' stands for size 3 and for 2",
    ),
    "a list for an array": (
        lambda: gnp.sum([1, 2]),
        TypeError,
        r"sum: expected an array.*not list: write graphad\.numpy\.array",
    ),
    "a list in an operator": (lambda: V * [1, 2, 3], TypeError, r"multiply: expected an array.*graphad\.numpy\.array"),
    "a string for an array": (lambda: gnp.sin("a"), TypeError, "sin: expected an array or a number, not str"),
    "bitwise and of floats": (lambda: V & V, TypeError, r"and got f32\[3\] and f32\[3\].*Cast first: x\.astype"),
    "difference of booleans": (lambda: (V > 0) - (V > 0), TypeError, "sub got bool.*Cast first"),
    "negative power of integers": (
        lambda: gnp.arange(3) ** -1,
        TypeError,
        r"negative power is no integer.*astype\(float\)",
    ),
    "an unknown dtype": (
        lambda: gnp.zeros(2, "float31"),
        TypeError,
        "'float31' is no dtype; graphad computes with bool",
    ),
    "a complex dtype": (lambda: gnp.zeros(2, complex), TypeError, "complex128 is not supported"),
    "a ragged array": (lambda: gnp.array([[1, 2], [3]]), ValueError, "sequences of unequal lengths"),
    "a negative size": (lambda: gnp.zeros(-1), ValueError, r"shape \(-1,\); sizes must not be negative"),
    "a size that is no int": (lambda: gnp.zeros(2.5), TypeError, "takes a shape of integers, got 2.5"),
    "reshape to another number of elements": (
        lambda: V.reshape(2, 2),
        TypeError,
        r"cannot give f32\[3\] with 3 elements the shape \(2, 2\)",
    ),
    "broadcast to a smaller shape": (
        lambda: gnp.broadcast_to(V, (2,)),
        TypeError,
        r"\(3,\) and \(2,\), which do not broadcast",
    ),
    "squeeze of an axis that is not 1": (lambda: gnp.squeeze(M, 0), ValueError, r"its size is 2, not 1"),
    "concatenate of different ranks": (
        lambda: gnp.concatenate([M, V]),
        TypeError,
        r"concatenate got f32\[2,3\] and f32\[3\]",
    ),
    "stack of different shapes": (lambda: gnp.stack([V, gnp.ones(2)]), ValueError, "all shapes must be equal"),
    "split into unequal parts": (lambda: gnp.split(V, 2), ValueError, "into 2 equal parts. Write array_split"),
    "widths of padding": (lambda: gnp.pad(V, (1, 2, 3)), ValueError, r"pad got widths \(1, 2, 3\)"),
    "an axis beyond the last": (
        lambda: gnp.sum(V, axis=1),
        ValueError,
        r"sum got axis 1 for an array of 1 axes; legal axes are -1\.\.0",
    ),
    "an axis twice": (lambda: gnp.sum(M, axis=(0, 0)), ValueError, "names an axis twice"),
    "an axis that is no int": (lambda: gnp.sum(M, axis=0.5), TypeError, "takes an integer as axis, got 0.5"),
    "maximum of nothing": (lambda: gnp.max(gnp.zeros(0)), ValueError, "which is empty: there is no max. Give initial="),
    "argmax of nothing": (lambda: gnp.argmax(gnp.zeros(0)), ValueError, "axis 0 is empty"),
    "positions of a condition": (lambda: gnp.where(V > 0), TypeError, r"Write where\(condition, x, y\)"),
    "writing to out=": (lambda: V.sum(out=np.zeros(())), TypeError, "cannot write to out=: arrays are immutable"),
    "writing through NumPy": (lambda: np.sin(V, out=V), TypeError, r"np\.sin cannot write into an Array"),
    "sharing memory with gaps": (
        lambda: gnp.from_dlpack(np.ones(4)[::2], copy=False),
        ValueError,
        "has gaps or another order.*Let it be copied",
    ),
    "length of a number": (lambda: len(gnp.asarray(1.0)), TypeError, r"len\(\) of an array without axes"),
    "iteration over a number": (lambda: list(gnp.asarray(1.0)), TypeError, "iteration over a scalar"),
    # indexing
    "an index beyond the end": (lambda: V[3], IndexError, r"index 3 is out of range for axis 0 of f32\[3\], of size 3"),
    "an index under jit beyond the end": (
        lambda: graphad.jit(lambda x: x[-4])(V),
        IndexError,
        "index -4 is out of range",
    ),
    "too many indices": (lambda: V[0, 0], IndexError, r"too many indices: f32\[3\]"),
    "a float index": (lambda: V[1.0], TypeError, "1.0 is no index: it takes integers, slices"),
    "a list index": (lambda: V[[0, 1]], TypeError, r"write x\[graphad\.numpy\.array\(\[0, 1\]\)\]"),
    "a mask of another size": (lambda: V[np.array([True, False])], IndexError, r"a mask of shape \(2,\) does not fit"),
    "a traced mask": (
        lambda: graphad.jit(lambda x: x[x > 0])(V),
        TypeError,
        r"no known number of true elements.*where\(mask, x, 0\)",
    ),
    "a wider value": (
        lambda: V.at[0].set(np.full((), 0.1)),
        PrecisionWarning,
        r"f64\[\] for x of type f32\[3\].*takes digits.*x\.astype\(float64\)",
    ),
    "a float in integers": (lambda: gnp.arange(3).at[0].set(1.5), TypeError, r"cannot hold them.*astype"),
    "an update of another shape": (
        lambda: V.at[:2].set(gnp.ones(3)),
        TypeError,
        r"the update got shapes \(3,\) and \(2,\)",
    ),
    "an update beyond the end": (lambda: V.at[5].set(1.0), IndexError, "index 5 is out of range"),
}
