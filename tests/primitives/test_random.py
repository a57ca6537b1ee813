"""Threefry against published vectors and JAX."""

from __future__ import annotations

import numpy as np
from jax.extend.random import threefry_2x32

from graphad.primitives.random import threefry2x32

# Random123 1.14, kat_vectors: "threefry2x32 20", counter, key, result
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def test_known_answers():
    for counter, key, expected in KNOWN:
        words = threefry2x32(*(np.array([w], np.uint32) for w in (*key, *counter)))
        assert tuple(int(w[0]) for w in words) == expected


def test_same_bits_as_jax(rng):
    key = rng.integers(0, 2**32, 2, np.uint32)
    counts = rng.integers(0, 2**32, 2_000, np.uint32)
    expected = np.asarray(threefry_2x32(key, counts))
    k0, k1 = (np.full(1_000, k) for k in key)
    np.testing.assert_array_equal(np.concatenate(threefry2x32(k0, k1, counts[:1_000], counts[1_000:])), expected)
