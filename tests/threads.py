"""One function in several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


def side_by_side(work, n=4):
    """Run ``work(k)`` for each k below n, all at a time, to the end; an exception in one is raised here."""
    start = threading.Barrier(n)

    def run(k):
        start.wait()
        work(k)

    with ThreadPoolExecutor(n) as pool:
        list(pool.map(run, range(n)))
