"""How long ``import graphad`` takes above ``import numpy``; the budget is what that takes itself.

    python benchmarks/import_time.py

Each statement runs in fresh interpreters, the two in turns; the fastest run of each counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

# Bytecode is compiled once on every machine but one that is told not to: what is measured is not that.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def start(code: str) -> float:
    """Milliseconds from starting an interpreter that runs `code` to its end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    return (time.perf_counter() - begin) * 1e3


def main() -> int:
    """Measure, print one line, and fail over the budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    pairs = [(start("import numpy"), start("import numpy, graphad")) for _ in range(runs)]
    numpy_ms, both_ms = (min(times) for times in zip(*pairs, strict=True))
    above = both_ms - numpy_ms
    print(f"import numpy {numpy_ms:.0f} ms, import graphad {above:.0f} ms more, {above / numpy_ms:.2f} times that")
    return int(above > numpy_ms)


if __name__ == "__main__":
    sys.exit(main())
