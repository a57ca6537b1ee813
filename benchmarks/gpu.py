"""graphad on one GPU beside PyTorch, eager and compiled, and JAX, in one run.

Run: ``python benchmarks/gpu.py --device cuda``. Every program is first checked at a small size against NumPy, then at
the full size against the others; candidates take turns, and medians are printed, with a Markdown table at the end. The
bandwidth is what the program must read and write at least, by the time that it takes. Without a GPU,
``--device cuda:emulated --quick`` checks that everything runs and computes the right thing.
"""

from __future__ import annotations

from timing import interleaved, versions  # first: it clears what slows NumPy

import argparse
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import graphad
from gpu_libraries import PEERS, Library, Missing, Reference, Traced, open_graphad
from gpu_programs import PROGRAMS, Program
from graphad.backends.cuda import toolkit

BURST_SECONDS, MOST_BURST = 2e-3, 200
WARM_UP = 12  # graphad captures a program when it has seen its addresses again
TOLERANCE, TOLERANCE_AT_FULL_SIZE = 1e-4, 5e-3  # of an array's largest element
LARGEST_CHECKED = 1 << 26  # elements of a result


@dataclass(frozen=True)
class Row:
    """One line of the table: medians in seconds by library, and what is known of graphad's program."""

    title: str
    size: str
    seconds: Mapping[str, float]
    launches: int
    least_bytes: int


# ---- results


def difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference of two results, each array in relation to its largest element."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return np.inf
        if 0 < a.size <= LARGEST_CHECKED:
            error = np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(b).max()), 1e-6)
            worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return worst


def check(program: Program, libraries: Sequence[Library]) -> list[str]:
    """What goes wrong in three calls at the small size, measured against NumPy."""
    arguments = program.arguments(np.random.default_rng(1), program.quick)
    wrong: list[str] = []
    expected: list[np.ndarray] = []
    for library in (Reference(), *libraries):
        call = library.prepare(program, arguments)
        with graphad.config.override(disable_jit=isinstance(library, Reference)):
            results = library.leaves([call(), call(), call()][-1])
        expected = expected or results
        error = difference(results, expected)
        if error > TOLERANCE:
            wrong.append(f"{program.title}: {library.name} is {error:.1e} off")
    return wrong


# ---- times


def measure(program: Program, size: str, libraries: Sequence[Library], rounds: int) -> tuple[Row, list[str]]:
    """Medians at one size, and which libraries disagree."""
    arguments = program.arguments(np.random.default_rng(0), program.sizes[size])
    calls = {library.name: library.prepare(program, arguments) for library in libraries}
    wrong: list[str] = []
    expected: list[np.ndarray] = []
    for library in libraries:
        results = library.leaves(calls[library.name]())
        expected = expected or results
        if (error := difference(results, expected)) > TOLERANCE_AT_FULL_SIZE:
            wrong.append(f"{program.title} {size}: {library.name} is {error:.1e} off")
    del expected, results
    burst = program.burst or burst_of(libraries[0], calls[libraries[0].name])

    def candidate(library: Library):
        call = calls[library.name]

        def run() -> None:
            for _ in range(burst - 1):
                call()
            library.wait(call())

        for _ in range(WARM_UP):
            run()
        return run

    medians = interleaved({library.name: candidate(library) for library in libraries}, repeat=rounds)
    launches, least_bytes = explained(libraries[0])
    return Row(program.title, size, {k: v / burst for k, v in medians.items()}, launches, least_bytes), wrong


def burst_of(library: Library, call) -> int:
    """As many calls as take two milliseconds."""
    library.wait(call())
    start = time.perf_counter()
    library.wait(call())
    return max(1, min(MOST_BURST, int(BURST_SECONDS / (time.perf_counter() - start))))


def explained(library: Library) -> tuple[int, int]:
    """Launches of graphad's program, and the bytes that it must move at least."""
    assert isinstance(library, Traced), "graphad comes first"
    explanation = library.compiled.explain(*library.example, device=library.device)
    return len(explanation.steps), explanation.minimum_bytes


# ---- the device


def peak_bandwidth(device: str) -> float | None:
    """Bytes a second between a GPU and its memory, by what the driver says of both; None where there is none."""
    place = graphad.device.parse(device)
    if place.kind != "cuda" or place.is_emulated:
        return None
    driver = toolkit.driver()
    names = driver.CUdevice_attribute
    _, ordinal = driver.cuDeviceGet(place.index)
    _, kilohertz = driver.cuDeviceGetAttribute(names.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, ordinal)
    _, bits = driver.cuDeviceGetAttribute(names.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, ordinal)
    return 2e3 * (kilohertz or 0) * (bits or 0) / 8 or None  # two transfers in a cycle


def describe(device: str) -> str:
    """Name of the device, and versions of driver and libraries."""
    place = graphad.device.parse(device)
    text = f"{place}, {versions('numpy', 'llvmlite', 'graphad')}"
    if place.kind != "cuda" or place.is_emulated:
        return text
    driver = toolkit.driver()
    _, ordinal = driver.cuDeviceGet(place.index)
    _, name = driver.cuDeviceGetName(256, ordinal)
    _, version = driver.cuDriverGetVersion()
    libraries = [f"{p} {toolkit.version_of(p)}" for p in ("nvidia-cublas", "nvidia-nvjitlink")]
    shown = name.decode().partition("\0")[0].strip()
    return f"{shown} ({text}), driver for CUDA {version // 1000}.{version % 1000 // 10}, {', '.join(libraries)}"


# ---- the table


def table(rows: Sequence[Row], names: Sequence[str], peak: float | None) -> str:
    """All rows in Markdown; the ratio is the time of the fastest other library by graphad's."""
    titles = ["program", "size", *[f"{n} us" for n in names], "ratio", "launches", "GB/s", "of peak"]
    lines = ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * (len(titles) - 2)]
    for row in rows:
        own = row.seconds[names[0]]
        others = [row.seconds[n] for n in names[1:] if n in row.seconds]
        rate = row.least_bytes / own
        cells = [
            row.title,
            row.size,
            *[f"{1e6 * row.seconds[n]:,.1f}" if n in row.seconds else "" for n in names],
            f"{min(others) / own:.2f}" if others else "",
            str(row.launches),
            f"{rate / 1e9:,.1f}",
            f"{rate / peak:.0%}" if peak else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def open_libraries(device: str, wanted: Sequence[str]) -> list[Library]:
    """graphad and the peers that are here; says of each that is not why."""
    libraries: list[Library] = [open_graphad(device)]
    for name in wanted:
        try:
            libraries.append(PEERS[name](device))
        except Missing as reason:
            print(f"without {name}: {reason}")
    return libraries


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure and print; 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or without a GPU cuda:emulated or cpu")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="default: all")
    parser.add_argument("--only", default="", help="programs whose titles this regular expression finds")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="check results at small sizes, measure nothing")
    options = parser.parse_args(arguments)

    programs = [p for p in PROGRAMS if re.search(options.only, p.title)]
    print(describe(options.device))
    libraries = open_libraries(options.device, options.peers)
    names = [library.name for library in libraries]
    rows: list[Row] = []
    wrong: list[str] = []
    for program in programs:
        found = check(program, libraries)
        wrong += found
        print(f"{program.title}: {'; '.join(found) or 'right at ' + str(program.quick)}", flush=True)
        for size in () if options.quick else program.sizes:
            row, found = measure(program, size, libraries, options.rounds)
            rows.append(row)
            wrong += found
            times = ", ".join([f"{name} {1e6 * seconds:,.1f} us" for name, seconds in row.seconds.items()])
            print(f"  {size}: {'; '.join([times, *found])}", flush=True)
    if rows:
        print(f"\n{table(rows, names, peak_bandwidth(options.device))}")
    print(f"\n{len(programs)} programs, {len(wrong)} wrong results")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
