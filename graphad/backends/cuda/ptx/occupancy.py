"""Occupancy: how many blocks of a kernel a multiprocessor holds at once, and which resource limits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from graphad.errors import LoweringError, did_you_mean

WARP: Final = 32
_REGISTERS: Final = 64 << 10  # of a multiprocessor, on every architecture
_REGISTER_UNIT: Final = 256  # registers are handed out to warps in multiples of this ...
_PARTITIONS: Final = 4  # ... by each of four parts of the multiprocessor
#: Bytes of shared memory that the system reserves for each block, from sm_80 on.
RESERVED_SHARED: Final = 1024


class Multiprocessor(NamedTuple):
    """What one multiprocessor holds."""

    blocks: int
    warps: int
    shared_bytes: int
    shared_reserved: int
    shared_unit: int


#: Table "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide; the units in which shared
#: memory is handed out are those of the occupancy calculator in Nsight Compute.
MULTIPROCESSORS: Final = {
    "sm_75": Multiprocessor(16, 32, 64 << 10, 0, 256),
    "sm_80": Multiprocessor(32, 64, 164 << 10, RESERVED_SHARED, 128),
    "sm_86": Multiprocessor(16, 48, 100 << 10, RESERVED_SHARED, 128),
    "sm_87": Multiprocessor(16, 48, 164 << 10, RESERVED_SHARED, 128),
    "sm_89": Multiprocessor(24, 48, 100 << 10, RESERVED_SHARED, 128),
    "sm_90": Multiprocessor(32, 64, 228 << 10, RESERVED_SHARED, 128),
    "sm_100": Multiprocessor(32, 64, 228 << 10, RESERVED_SHARED, 128),
    "sm_103": Multiprocessor(32, 64, 228 << 10, RESERVED_SHARED, 128),
    "sm_120": Multiprocessor(24, 48, 100 << 10, RESERVED_SHARED, 128),
    "sm_121": Multiprocessor(24, 48, 100 << 10, RESERVED_SHARED, 128),
}


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Blocks that fit, the fraction of the multiprocessor's warps that they are, and the limiting resource.

    ``limit`` is ``"warps"``, ``"blocks"``, ``"registers"`` or ``"shared memory"``.
    """

    blocks: int
    fraction: float
    limit: str


def occupancy(architecture: str, threads: int, registers: int, shared_bytes: int = 0) -> Occupancy:
    """The occupancy of a multiprocessor.

    Parameters
    ----------
    architecture
        One of `MULTIPROCESSORS`.
    threads
        In a block.
    registers
        Of a thread.
    shared_bytes
        Of a block, static and dynamic.

    Examples
    --------
    >>> occupancy("sm_90", 256, 32)
    Occupancy(blocks=8, fraction=1.0, limit='warps')
    >>> occupancy("sm_86", 256, 64, 40_000)
    Occupancy(blocks=2, fraction=0.3333333333333333, limit='shared memory')
    """
    if architecture not in MULTIPROCESSORS:
        known = did_you_mean(architecture, MULTIPROCESSORS)
        raise LoweringError(f"the limits of the architecture {architecture!r} are not known. {known}")
    sm = MULTIPROCESSORS[architecture]
    warps = _units(threads, WARP)
    per_warp = _units(max(registers, 1) * WARP, _REGISTER_UNIT) * _REGISTER_UNIT
    shared = _units(shared_bytes + sm.shared_reserved, sm.shared_unit) * sm.shared_unit
    fitting = {
        "warps": sm.warps // warps,
        "blocks": sm.blocks,
        "registers": _REGISTERS // _PARTITIONS // per_warp * _PARTITIONS // warps,
        "shared memory": sm.shared_bytes // shared if shared else sm.blocks,
    }
    limit = min(fitting, key=lambda k: fitting[k])
    return Occupancy(fitting[limit], fitting[limit] * warps / sm.warps, limit)


def _units(amount: int, unit: int) -> int:
    """How many units hold the amount."""
    return -(-amount // unit)
