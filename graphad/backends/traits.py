"""What lowering may assume of the machine that a program is for: plain data, read before anything is decided.

What a machine multiplies, and what it can do to a product before it stores it, decides which values a program has at
all. So it is known before fusion roots are chosen, and no target takes back what was decided for another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from graphad.ir.types import DType, bf16, f16, f32, f64


@dataclass(frozen=True, slots=True)
class Epilogues:
    """What a machine can do to the elements of a matrix product before it stores them.

    Attributes
    ----------
    relu
        Cut off negative elements.
    half_bias
        Add a bias to sums that are stored in 16 bits. It is added before they are rounded, where a program that adds it
        to the product would round twice.
    bias_alignment
        A bias begins at a multiple of so many bytes of its buffer.
    one_column
        Do so to a product with a single column as well.
    """

    relu: bool = True
    half_bias: bool = False
    bias_alignment: int = 1
    one_column: bool = True


@dataclass(frozen=True, slots=True)
class Traits:
    """What lowering may assume.

    Attributes
    ----------
    fma
        There is a fused multiply-add.
    products
        The dtypes of factors of matrix products. Those of 16-bit floats are summed in f32, and stored in the dtype of
        the factors or in f32.
    half_alignment
        Factors of 16 bits begin at a multiple of so many bytes of their buffer; others are copied.
    epilogues
        What products can do to their elements besides; None where that takes loops.
    symmetric_products
        Of a matrix times its own transpose, one triangle can be computed and mirrored (``?syrk`` of BLAS).
    free_widening
        Widening a 16-bit float costs nothing beside reading it: what was widened is not stored to be read again.
    """

    fma: bool = True
    products: tuple[DType, ...] = (f32, f64)
    half_alignment: int = 1
    epilogues: Epilogues | None = None
    symmetric_products: bool = False
    free_widening: bool = False


#: Bytes that tensor cores are fed at once.
_WORD: Final = 16

#: A CPU with fused multiply-adds.
CPU = Traits(symmetric_products=True)


def cpu_traits(*, fma: bool) -> Traits:
    """The traits of a CPU, with or without fused multiply-adds; BLAS computes its products."""
    return replace(CPU, fma=fma)


def cuda_traits(*, has_gemm: bool, fast_math: bool) -> Traits:
    """The traits of NVIDIA's GPUs, which are the same for all architectures that we compile for.

    Parameters
    ----------
    has_gemm
        Whether cuBLASLt computes matrix products; else they are kernels of our own, which have every epilogue.
    fast_math
        Assume no NaNs, and round a 16-bit product and its bias together, once.
    """
    epilogues = Epilogues(half_bias=fast_math)
    if has_gemm:
        # The library's documentation says max(x, 0), and nothing of nan. It reads a bias by words.
        epilogues = Epilogues(relu=fast_math, half_bias=fast_math, bias_alignment=_WORD, one_column=False)
    halves = f16, bf16
    return Traits(products=(f32, f64, *halves), half_alignment=_WORD, epilogues=epilogues, free_widening=True)
