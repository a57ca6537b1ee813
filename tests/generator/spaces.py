"""The libraries that run a random program: what a program calls ``xp``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

import graphad
import graphad.numpy as gnp
from graphad import lax, nn


class Space:
    """The functions of a module of NumPy's kind, and those that each library spells in its own way.

    ``rounded(result, ulps)`` and ``shaken(operand, ulps)`` are called with each result and with the operands of sums: a
    reference uses them to find out how much an error in the last place matters.
    """

    def __init__(self, module: Any, dtype: Any) -> None:
        self.module = module
        self.dtype = dtype

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def rounded(self, x: Any, _ulps: float) -> Any:
        return x

    def shaken(self, x: Any, _ulps: float) -> Any:
        return x

    def number(self, x: float) -> Any:
        """A number of the program, converted once to the dtype of what it meets."""
        return x

    def to_float(self, x: Any) -> Any:
        """Of a number of Python's too: JAX hands it to a loop's body that it does not trace."""
        return np.asarray(x, self.dtype) if isinstance(x, int) else x.astype(self.dtype)

    def to_int(self, x: Any) -> Any:
        return x.astype("int32")

    def indices(self, at: tuple[int, ...]) -> Any:
        return np.array(at)

    def at_set(self, x: Any, at: Any, value: Any) -> Any:
        return x.at[at].set(value)

    def at_add(self, x: Any, at: tuple[int, ...], value: Any) -> Any:
        return x.at[np.array(at)].add(value)

    def wide(self, x: Any) -> Any:
        """Computed in float64, whatever the dtype of the program."""
        return (x.astype("float64") * 0.7).astype(self.dtype)

    def finite(self, x: Any) -> Any:
        return self.where(self.isfinite(x), x, 0.0)

    def start(self, x: Any, at: int) -> Any:
        """``at``, as a number that is known only when the program runs."""
        return self.sum(x * 0 == 1).astype("int32") + at

    def loop(self, x: Any) -> Any:
        turns = 0
        while self.sum(x * x) > 0.75 and turns < 8:
            x = x * 0.5
            turns += 1
        return x + turns


class Graphad(Space):
    def __init__(self, dtype: Any) -> None:
        super().__init__(gnp, dtype)

    erf, sigmoid = staticmethod(lax.erf), staticmethod(nn.sigmoid)
    jit, vmap, checkpoint = staticmethod(graphad.jit), staticmethod(graphad.vmap), staticmethod(graphad.checkpoint)

    def cummax(self, x: Any, axis: int) -> Any:
        return lax.cummax(x, axis % x.ndim)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return nn.logsumexp(x, axis)

    def softmax(self, x: Any, axis: int) -> Any:
        return nn.softmax(x, axis)

    def pool(self, x: Any) -> Any:
        return lax.reduce_window(x, -np.inf, lax.max, (3,), (2,), "VALID")

    def dynamic(self, x: Any, at: int) -> Any:
        return lax.dynamic_slice_in_dim(x, self.start(x, at), 2)

    def custom(self, x: Any) -> Any:
        return _custom(x)

    def custom_back(self, x: Any) -> Any:
        return _custom_back(x)


_custom = graphad.custom_jvp(lambda x: gnp.sin(x) * x)
_custom.defjvp(lambda p, t: (_custom(*p), t[0] * (gnp.cos(p[0]) * p[0] + gnp.sin(p[0]))))
_custom_back = graphad.custom_vjp(lambda x: gnp.exp(-x * x))
_custom_back.defvjp(lambda x: (gnp.exp(-x * x), x), lambda x, ct: (-2 * x * gnp.exp(-x * x) * ct,))


class Jax(Space):
    def __init__(self, dtype: Any) -> None:
        super().__init__(jnp, dtype)

    erf, sigmoid = staticmethod(jax.scipy.special.erf), staticmethod(jax.nn.sigmoid)
    jit, vmap, checkpoint = staticmethod(jax.jit), staticmethod(jax.vmap), staticmethod(lambda f: f)

    def cummax(self, x: Any, axis: int) -> Any:
        return jax.lax.cummax(x, axis % x.ndim)

    def logsumexp(self, x: Any, axis: int) -> Any:
        return jax.scipy.special.logsumexp(x, axis)

    def softmax(self, x: Any, axis: int) -> Any:
        return jax.nn.softmax(x, axis)

    def pool(self, x: Any) -> Any:
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (3,), (2,), "VALID")

    def dynamic(self, x: Any, at: int) -> Any:
        return jax.lax.dynamic_slice_in_dim(x, self.start(x, at), 2)

    def custom(self, x: Any) -> Any:
        return jnp.sin(x) * x

    def custom_back(self, x: Any) -> Any:
        return jnp.exp(-x * x)


class Reference(Space):
    """NumPy in long double, so that what another dtype rounds can be told.

    With ``rng`` each result that ``dtype`` would round is moved by as many units of its last place as the operation may
    be off: runs with different numbers spread as far as rounding can carry a result.
    """

    def __init__(self, dtype: Any, rng: np.random.Generator | None = None) -> None:
        super().__init__(np, dtype)
        self.info = np.finfo(np.dtype(dtype)) if np.dtype(dtype).kind == "f" else None
        self.flushed = np.finfo(np.float64 if np.dtype(dtype) == np.float64 else np.float32).smallest_normal
        self.terms = 1  # that one sum can have
        self.rng = rng

    def number(self, x: float) -> Any:
        return np.longdouble(np.dtype(self.dtype).type(x))

    def to_float(self, x: Any) -> Any:
        return np.asarray(x).astype(np.longdouble)

    def sign(self, x: Any) -> Any:
        return np.where(x == 0, x, np.sign(x))  # a zero keeps its sign, as with JAX

    def rounded(self, x: Any, ulps: float) -> Any:
        x = np.asarray(x)
        if x.dtype.kind != "f" or self.info is None:
            return x.astype(np.int32) if x.dtype.kind in "iu" else x
        x = x.astype(np.longdouble)
        self.terms = max(self.terms, x.size)
        with np.errstate(all="ignore"):
            x = np.where(np.abs(x) > self.info.max, np.copysign(np.inf, x), x)
            if self.rng is None or not ulps:
                return x
            if ulps <= 1:
                exact = x.astype(self.dtype) == x
                moved = np.where(exact, x, self._moved(x, 1))
            else:  # the sign of a zero depends on the order of a sum, and terms that are denormal may be left out
                lost = self.rng.choice([-1, 0, 1], x.shape) * self.terms * np.longdouble(self.flushed)
                moved = np.where(x == 0, self.rng.choice([-0.0, 0.0], x.shape), self._moved(x, ulps) + lost)
            # Programs store what they compute, so that two values may be equal to the last bit.
            stored = x.astype(self.dtype).astype(np.longdouble)
            moved = np.where((self.rng.random(x.shape) < 0.25) & np.isfinite(stored), stored, moved)
            tiny = (np.abs(x) < self.info.smallest_normal) & (self.rng.random(x.shape) < 0.5)
            return np.where(tiny, x * 0, moved)

    def shaken(self, x: Any, ulps: float) -> Any:
        if self.rng is None or not ulps or not np.size(x) or np.asarray(x).dtype.kind != "f":
            return x
        with np.errstate(all="ignore"):
            on_grid = np.all((x * 2 == np.rint(x * 2)) & (np.abs(x) <= 32))
            return x if on_grid else self._moved(x, ulps)

    def _moved(self, x: Any, ulps: float) -> Any:
        assert self.rng is not None
        assert self.info is not None
        return x * (1 + self.rng.choice([-1, 1], np.shape(x)) * np.longdouble(ulps * self.info.eps))

    def erf(self, x: Any) -> Any:
        return scipy.special.erf(x.astype(np.float64)).astype(np.longdouble)

    def sigmoid(self, x: Any) -> Any:
        with np.errstate(all="ignore"):
            return 1 / (1 + np.exp(-x))

    def jit(self, f: Callable[..., Any]) -> Callable[..., Any]:
        return f

    checkpoint = jit

    def vmap(self, f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: np.stack([f(row) for row in x])

    def at_set(self, x: Any, at: Any, value: Any) -> Any:
        x = x.copy()
        x[at] = value
        return x

    def at_add(self, x: Any, at: tuple[int, ...], value: Any) -> Any:
        x = x.copy()
        np.add.at(x, np.array(at), value)
        return x

    def cummax(self, x: Any, axis: int) -> Any:
        return np.maximum.accumulate(x, axis)

    def logsumexp(self, x: Any, axis: int) -> Any:
        high = np.max(x, axis, keepdims=True)
        high = np.where(np.isfinite(high), high, 0)
        return np.log(self.rounded(np.sum(np.exp(x - high), axis), 4)) + np.squeeze(high, axis)

    def softmax(self, x: Any, axis: int) -> Any:
        e = np.exp(x - np.max(x, axis, keepdims=True))
        return e / np.sum(e, axis, keepdims=True)

    def wide(self, x: Any) -> Any:
        return x * np.longdouble(0.7)

    def pool(self, x: Any) -> Any:
        return np.lib.stride_tricks.sliding_window_view(x, 3)[::2].max(-1)

    def dynamic(self, x: Any, at: int) -> Any:
        at = min(at, len(x) - 2)
        return x[at : at + 2]

    def custom(self, x: Any) -> Any:
        return np.sin(x) * x

    def custom_back(self, x: Any) -> Any:
        return np.exp(-x * x)
