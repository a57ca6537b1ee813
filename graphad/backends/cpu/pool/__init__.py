"""The pool of threads on which programs run the blocks of a loop: emitted code that every program calls.

``make.address()`` is where it is. Whoever only names it need not import how it is made.
"""

from __future__ import annotations

from typing import Final

#: ``void ga_run_blocks(ptr function, ptr context, i64 count, i64 nanoseconds)``, described in `pool.code`.
RUN_BLOCKS: Final = "ga_run_blocks"
