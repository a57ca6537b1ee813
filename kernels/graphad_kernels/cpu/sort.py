"""Sorting: written for flat arrays and for pointers alike, so nothing here asks for a length."""

from __future__ import annotations

from typing import Any

#: Runs of so many elements are sorted by insertion before they are merged.
RUN = 16


def argsort(keys: Any, order: Any, spare_keys: Any, spare_order: Any, rows: int, n: int) -> None:
    """``order[row, k]``: where in its row of ``keys`` the k-th element lies, from the least; equals keep their order.

    nan comes last, and 0.0 equals -0.0. A merge sort of pairs (key, position) from one half of the spare arrays
    (``2 * n`` elements each) to the other.
    """
    for row in range(rows):
        base = row * n
        for start in range(0, n, RUN):
            for i in range(start, min(start + RUN, n)):
                key, j = keys[base + i], i
                while j > start:
                    other = spare_keys[j - 1]
                    if not (key < other or (key == key and other != other)):  # the lesser first, numbers before nan
                        break
                    spare_keys[j], spare_order[j] = other, spare_order[j - 1]
                    j -= 1
                spare_keys[j], spare_order[j] = key, i
        width, source, target = RUN, 0, n
        while width < n:
            for low in range(0, n, 2 * width):
                middle, high = min(low + width, n), min(low + 2 * width, n)
                i, j = source + low, source + middle
                end_i, end_j = j, source + high
                for k in range(target + low, target + high):
                    right = i == end_i
                    if not right and j < end_j:
                        a, b = spare_keys[i], spare_keys[j]
                        right = b < a or (b == b and a != a)
                    if right:
                        spare_keys[k], spare_order[k] = spare_keys[j], spare_order[j]
                        j += 1
                    else:
                        spare_keys[k], spare_order[k] = spare_keys[i], spare_order[i]
                        i += 1
            width, source, target = 2 * width, target, source
        for k in range(n):
            order[base + k] = spare_order[source + k]
