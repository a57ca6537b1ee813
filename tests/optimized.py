"""JAX as its users have it."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def optimized():
    """JAX compiles as for its users, which `tests.conftest` keeps it from: products that are added are not rounded."""
    import jax  # late: not everybody who tests has it

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()
