"""What kernels in Numba source for NVIDIA's devices call besides what Numba has: small device functions.

`group` has sums and scans over a warp or a block, `atomic` the updates that the machine has no instruction for (both
of the combinations in `combine`), `rounding` operators on floats, `gemm` matrix products, and `compiler` turns a kernel
into PTX. With numba-cuda-mlir a kernel takes the words from `mlir`.
"""
