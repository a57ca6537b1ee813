"""CUDA: kernels from loop programs, their runtime, and an emulator that runs them on the CPU."""

from __future__ import annotations
