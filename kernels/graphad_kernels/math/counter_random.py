"""Random bits from a counter: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, SC 2011)."""

from __future__ import annotations

from graphad_kernels.math.helpers import Number, to_u32

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def four_rounds(x0: Number, x1: Number, group: int) -> tuple[Number, Number]:
    """Four rounds of mixing with the rotations of that group."""
    for rotation in ROTATIONS[group]:
        x0 = to_u32(x0 + x1)
        x1 = to_u32((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
    return x0, x1


def threefry2x32_u32(key0: Number, key1: Number, x0: Number, x1: Number) -> tuple[Number, Number]:
    """The two words of the block that encrypts the counter ``(x0, x1)`` under the key, all uint32."""
    key2 = to_u32(key0 ^ key1 ^ PARITY)
    x0, x1 = four_rounds(to_u32(x0 + key0), to_u32(x1 + key1), 0)
    x0, x1 = four_rounds(to_u32(x0 + key1), to_u32(x1 + key2 + 1), 1)
    x0, x1 = four_rounds(to_u32(x0 + key2), to_u32(x1 + key0 + 2), 0)
    x0, x1 = four_rounds(to_u32(x0 + key0), to_u32(x1 + key1 + 3), 1)
    x0, x1 = four_rounds(to_u32(x0 + key1), to_u32(x1 + key2 + 4), 0)
    return to_u32(x0 + key2), to_u32(x1 + key0 + 5)
