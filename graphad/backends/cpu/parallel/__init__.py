"""Loops whose turns are independent, cut into blocks that threads share out among themselves.

The size of a block depends on the sizes of the program alone, and with one thread a program runs in the same blocks: so
results do not depend on the number of threads. Sums are those of blocks, added in order and in double precision. Loops
over one axis run together, block by block, where each reads in a block what others have written in the same; what
passes between them is then as small as a block, and stays in the cache.

Walk of one example, a million numbers in blocks of ``B``::

    nest                                           parallel block in 1000000 / B, private own0:
      for i in 1000000 vector, s = sum(0.0, t):      nest
        t = sin(x[i])                                  for i in B vector, s = sum(-0.0, t):
        tmp0[i] = t                          ->          t = sin(x[B*block + i])
      out0[0] = s                                        own0[i] = t
    nest                                               part0[block] = s
      for i in 1000000 vector:                       nest
        u = exp(tmp0[i])                               for i in B vector:
        out1[i] = u                                      u = exp(own0[i])
                                                         out1[B*block + i] = u
                                                   nest
                                                     for b in 1000000 / B, s = sum(0.0, t):
                                                       t = part0[b]
                                                     out0[0] = s

and what does not fill a block follows in loops of its own, whose sums come last.
"""

from __future__ import annotations

from graphad.backends.cpu.parallel.groups import in_parallel

__all__ = ["in_parallel"]
