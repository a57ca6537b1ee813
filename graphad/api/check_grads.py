"""`check_grads`: derivatives against finite differences, and reverse mode against forward mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.api.functions import Arguments, Function, check_callable, name_of, trace_floats
from graphad.api.linear_maps import jvp, vjp
from graphad.trace.array import to_array
from graphad.trace.bind import type_of
from graphad.trace.pytree import flatten, tree_map, unflatten
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

_TOLERANCE = {32: 6e-2, 64: 1e-5}


@boundary
def check_grads(
    f: Function,
    args: Sequence[Any],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Raise AssertionError unless the derivatives of ``f`` at ``args`` are right, up to ``order``.

    The message names the first equation of ``f`` whose derivative or transpose is wrong at the values that it meets:
    the line, the primitive or custom rule, the operand, what is expected and what is found.

    Forward mode is checked against central differences along a random direction, reverse mode against forward mode (or,
    alone, against the differences);
    higher orders check the derivative function in the same way.

    Parameters
    ----------
    f
        A function of float arrays.
    args
        The arguments, a tuple.
    order
        1 for first derivatives, 2 for second ones as well, ...
    modes
        Which of ``"fwd"`` and ``"rev"``.
    atol, rtol
        Tolerances; by default 6e-2 in float32, 1e-5 in float64.
    eps
        Step of the differences.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.check_grads(lambda x: gnp.sin(x) * x, (0.7,), order=2)
    """
    check_callable(f, "check_grads")
    bad = set(modes) - {"fwd", "rev"}
    if bad:
        raise ValueError(f"{where()}check_grads knows the modes 'fwd' and 'rev', not {sorted(bad)}")
    args = tuple(args)
    bits = min([type_of(x).aval.dtype.bits for x in flatten(args)[0]], default=64)
    default = _TOLERANCE[64 if bits >= 64 else 32]
    tolerances = (default if atol is None else atol, default if rtol is None else rtol)
    step = (1e-6 if bits >= 64 else 1e-2) if eps is None else eps
    try:
        _check(f, args, order, tuple(modes), tolerances, step, name_of(f))
    except AssertionError as error:
        raise AssertionError(f"{str(error).strip()}\n{_reason(f, args, order)}") from None


def _reason(f: Function, args: tuple[Any, ...], order: int) -> str:
    from graphad.check.report import why_gradients_differ  # late: only where they do

    arguments = Arguments.of(args, {})
    traced = trace_floats(lambda args: f(*args), arguments, name_of(f))
    floats = [x for x in arguments.leaves if type_of(x).aval.is_float]
    values = [np.asarray(to_array(x)) for x in (*floats, *traced.captures)]
    return why_gradients_differ(traced.graph, values, order)


def _check(
    f: Function, args: Any, order: int, modes: tuple[str, ...], tolerances: tuple[float, float], eps: float, name: str
) -> None:
    rng = np.random.default_rng(0)
    tangents = tree_map(lambda x: _direction(rng, x), args)
    if "fwd" in modes:
        _, derivative = jvp(f, args, tangents)
        _close(derivative, _difference(f, args, tangents, eps), tolerances, f"forward mode of {name}")
        if order > 1:
            _check(_forward(f, tangents), args, order - 1, modes, tolerances, eps, f"jvp of {name}")
    if "rev" in modes:
        value, pullback = vjp(f, *args)
        cts = tree_map(lambda y: _direction(rng, y), value)
        forward = jvp(f, args, tangents)[1] if "fwd" in modes else _difference(f, args, tangents, eps)
        expected = _dot(forward, cts)
        _close(_dot(pullback(cts), tangents), expected, tolerances, f"reverse mode of {name}")
        if order > 1:
            _check(lambda *a: vjp(f, *a)[1](cts), args, order - 1, modes, tolerances, eps, f"vjp of {name}")


def _forward(f: Function, tangents: Any) -> Callable[..., Any]:
    return lambda *args: jvp(f, args, tangents)[1]


def _direction(rng: np.random.Generator, x: Any) -> Any:
    a = type_of(x).aval
    return np.asarray(rng.standard_normal(a.shape), a.dtype.numpy)


def _difference(f: Function, args: Any, tangents: Any, eps: float) -> Any:
    def shifted(sign: float) -> tuple[list[Any], Any]:
        return flatten(f(*tree_map(lambda x, t: to_array(np.asarray(x + sign * eps * t, t.dtype)), args, tangents)))

    (high, treedef), (low, _) = shifted(1.0), shifted(-1.0)
    pairs = zip(high, low, strict=True)
    slopes = [(np.asarray(h, np.float64) - np.asarray(g, np.float64)) / (2 * eps) for h, g in pairs]
    return unflatten(treedef, slopes)


def _dot(xs: Any, ys: Any) -> np.ndarray[Any, Any]:
    pairs = zip(flatten(xs)[0], flatten(ys)[0], strict=True)
    return np.asarray(sum(np.vdot(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in pairs))


def _close(found: Any, expected: Any, tolerances: tuple[float, float], what: str) -> None:
    for x, y in zip(flatten(found)[0], flatten(expected)[0], strict=True):
        np.testing.assert_allclose(
            np.asarray(x), np.asarray(y), atol=tolerances[0], rtol=tolerances[1], err_msg=f"{what} differs"
        )
