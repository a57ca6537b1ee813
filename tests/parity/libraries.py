"""graphad and JAX under the same names."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.scipy.linalg

import graphad
import graphad.numpy as gnp

_TRANSFORMS = ("grad", "vmap", "jit", "checkpoint")

OURS = SimpleNamespace(
    np=gnp,
    nn=graphad.nn,
    lax=graphad.lax,
    random=graphad.random,
    scipy=graphad.scipy,
    **{name: getattr(graphad, name) for name in _TRANSFORMS},
)
THEIRS = SimpleNamespace(
    np=jnp,
    nn=jax.nn,
    lax=jax.lax,
    random=jax.random,
    scipy=jax.scipy,
    **{name: getattr(jax, name) for name in _TRANSFORMS},
)
