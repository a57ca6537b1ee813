"""LLVM text, the elementary functions in it, and machine code from it."""
