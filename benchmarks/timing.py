"""Interleaved timing: the candidates take turns, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

# These slow a current NumPy's BLAS where they are set; they must be gone before NumPy is imported.
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)


def interleaved(candidates: Mapping[str, Callable[[], Any]], repeat: int = 15, number: int = 1) -> dict[str, float]:
    """Median seconds of one call of each candidate, over ``repeat`` rounds of ``number`` calls."""
    for call in candidates.values():
        call()
    rounds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeat):
        for name, call in candidates.items():
            start = time.perf_counter()
            for _ in range(number):
                call()
            rounds[name].append((time.perf_counter() - start) / number)
    return {name: statistics.median(times) for name, times in rounds.items()}


def versions(*modules: str) -> str:
    """``numpy 2.4.6, jax 0.10.2`` for the modules named."""
    return ", ".join(f"{m} {__import__(m).__version__}" for m in modules)
