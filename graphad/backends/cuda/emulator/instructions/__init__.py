"""What PTX instructions mean: each is decoded into a step over arrays with one element a thread.

`decoder` gives operands and registers their places, `opcodes` is the table that the other modules fill, and `formats`
and `rounding` have the arithmetic that NumPy does not have.
"""
