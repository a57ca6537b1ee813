"""LLVM text, the elementary functions as LLVM text, and machine code from it."""
