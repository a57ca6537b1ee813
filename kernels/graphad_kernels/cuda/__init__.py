"""What kernels in Numba source for NVIDIA's devices use beside Numba's own words: small device functions.

`group` has sums and scans over a warp or a block, `atomic` the updates that the machine has no instruction for,
`rounding` operators on floats, `gemm` matrix products, and `compiler` turns a kernel into PTX.
"""
