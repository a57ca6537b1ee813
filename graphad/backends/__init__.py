"""From graphs to machine code: loops (`fuse`), their text (`emit_llvm`, `emit_numba`), execution (`executable`)."""
