"""Checks of a program equation by equation, at the values that it really meets, by NumPy references alone.

Two questions, each with a data type for its answer:

- Which rule is wrong? A `Fault` (`equations`, `batching`): an equation, one of its operands, and a number that its
  derivative, transpose or batching rule gives beside the number that is right.
- Which line made the nan? An `Origin` (`origin`): the equation that made a nan, or an infinity, out of operands that
  are none.

An example of both. The function is traced to a graph, and every equation is run at the values that it meets::

    def f(x):                   at x = 0        values
        y = gnp.log(x)          %1 = log %0     -inf
        return y * 0.0          %2 = mul %1, 0  nan

The result is nan. `mul` has no nan among its operands, so it made this one; without the infinity in %1 its result
would not be nan, so that is to blame, and `log` made it out of the finite 0. The answer is
``Origin(nan, mul, operands=(-inf, 0), cause=Origin(-inf, log, operands=(0,)))``.

At x = 2 the same graph has a derivative. Each equation becomes a program of its own, ``%1 = log %0`` with %0 = 2; what
its rule gives along a random direction is compared with differences of its reference, and its transpose with its
derivative. Had `log` the rule ``t * x``, the answer would be ``Fault("derivative", log, operand=0, expected=0.5 * t,
found=2 * t)`` at the line of ``y``, though the derivative of ``f``, which is zero, is right.

Nothing here compiles or traces: a floor above hands in graphs and arrays, and says who asked.
"""
