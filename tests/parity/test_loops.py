"""Dtypes and weak types of what loops and branches carry and give: JAX's, and where graphad departs from it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp

OURS, THEIRS = SimpleNamespace(np=gnp, lax=graphad.lax), SimpleNamespace(np=jnp, lax=jax.lax)

VALUES: dict[str, Callable[[Any], Any]] = {
    "int": lambda np: 2,
    "float": lambda np: 0.5,
    "bool": lambda np: True,
    "weak int": lambda np: np.asarray(2),
    "weak float": lambda np: np.asarray(0.5),
    "int32": lambda np: np.int32(3),
    "float16": lambda np: np.float16(0.25),
    "float32": lambda np: np.float32(1.5),
}


def rows(m: Any, x: Any) -> Any:
    return x * m.np.ones(3, "bool")


Loop = Callable[[Any, Any, Any], Any]

#: name -> a function of the library and two values.
LOOPS: dict[str, Loop] = {
    "scan": lambda m, a, b: m.lax.scan(lambda t, x: (t + x, (t, t * x, x)), a, rows(m, b)),
    "scan that carries on": lambda m, a, b: m.lax.scan(lambda t, _: (m.np.asarray(t), t * b), a, None, 2),
    "scan in reverse": lambda m, a, b: m.lax.scan(lambda t, x: (x, t), a, rows(m, b), reverse=True),
    "scan of two": lambda m, a, b: m.lax.scan(lambda t, _: ((t[0] + t[1], t[1] + t[0]), t), (a, b), None, 3),
    "scan of constants": lambda m, a, b: m.lax.scan(lambda t, _: (a, b), a, None, 3),
    "fori_loop": lambda m, a, b: m.lax.fori_loop(0, 3, lambda i, t: t + b, a),
    "fori_loop of its number": lambda m, a, b: m.lax.fori_loop(0, 3, lambda i, t: (t[0] + i, i * b), (a, b)),
    "fori_loop of a number alone": lambda m, a, b: m.lax.fori_loop(0, 3, lambda i, t: i, a),
    "while_loop": lambda m, a, b: m.lax.while_loop(lambda t: t[1] < 3, lambda t: (t[0] * b, t[1] + 1), (a, 0)),
    "while_loop of another dtype": lambda m, a, b: m.lax.while_loop(lambda t: t < 9, lambda t: t * 1.5 + b, a),
    "map": lambda m, a, b: m.lax.map(lambda x: (x, x * a, a), rows(m, b)),
    "map of several at once": lambda m, a, b: m.lax.map(lambda x: (x, x * a), rows(m, b), batch_size=2),
    "associative_scan": lambda m, a, b: m.lax.associative_scan(lambda x, y: x * y, rows(m, b)),
    "associative_scan of one": lambda m, a, b: m.lax.associative_scan(lambda x, y: x + y, rows(m, b)[:1]),
}

#: name -> a function of the library and two values, and what chooses among the same results with their common dtype.
#: JAX refuses different dtypes, and its results are as weak as those of the branch that it looks at first.
CHOICES: dict[str, tuple[Loop, Callable[[Any, Any], Any]]] = {
    "cond": (lambda m, a, b: m.lax.cond(True, lambda: a, lambda: b), lambda a, b: gnp.where(True, a, b)),
    "cond of operands": (
        lambda m, a, b: m.lax.cond(False, lambda x, y: x, lambda x, y: x + y, a, b),
        lambda a, b: gnp.where(True, a, gnp.add(a, b)),
    ),
    "switch": (
        lambda m, a, b: m.lax.switch(1, [lambda x, y: x, lambda x, y: y, lambda x, y: x], a, b),
        lambda a, b: gnp.where(True, a, b),
    ),
}


def outcome(f: Callable[[], Any]) -> Any:
    """Shapes, dtypes and weakness of results, or that there are none. What is not changed JAX hands on as it came."""
    try:
        arrays = [x if hasattr(x, "dtype") else gnp.asarray(x) for x in jax.tree.leaves(f())]
    except TypeError:
        return "error"
    return [(x.shape, np.dtype(x.dtype).name, x.dtype != bool and bool(x.weak_type)) for x in arrays]


def of_pairs(loop: Loop) -> list[tuple[str, str, Any, Any]]:
    """The two values, what JAX gives, what graphad gives."""
    pairs, theirs = list(product(VALUES, VALUES)), []
    jax.eval_shape(
        lambda: theirs.extend([outcome(lambda: loop(THEIRS, VALUES[a](jnp), VALUES[b](jnp))) for a, b in pairs])
    )
    ours = [outcome(lambda: loop(OURS, VALUES[a](gnp), VALUES[b](gnp))) for a, b in pairs]
    return [(a, b, t, o) for (a, b), t, o in zip(pairs, theirs, ours, strict=True)]


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str) -> None:
    assert not [case for case in of_pairs(LOOPS[name]) if case[2] != case[3]]


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    loop, together = CHOICES[name]
    for a, b, theirs, ours in of_pairs(loop):
        if ours == "error":
            assert theirs == "error", (a, b)
        else:
            assert ours == outcome(lambda a=a, b=b: together(VALUES[a](gnp), VALUES[b](gnp))), (a, b)
            assert theirs in ("error", ours, [(*ours[0][:2], True)]), (a, b)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 0.5), (np.int32(1), 0.5), (True, 2), (True, 0.5), (np.int32(1), np.float32(2)), (True, np.int8(1))],
)
def test_no_branch_loses_its_value(one: Any, other: Any) -> None:
    """A weak integer may become a float; no other dtype yields to another."""
    for a, b in ((one, other), (other, one)):
        for chosen in (True, False):
            choose = lambda a=a, b=b, chosen=chosen: graphad.lax.cond(chosen, lambda: a, lambda: b)
            if type(one) is int:
                assert float(choose()) == (a if chosen else b)
            else:
                with pytest.raises(TypeError, match=r"x\.astype\(dtype\)"):
                    choose()


def test_no_start_loses_its_value() -> None:
    for start, turn in ((0.5, lambda i, t: i), (0.5, lambda i, t: t > 0), (3, lambda i, t: t > 0)):
        with pytest.raises(TypeError, match="goes in as"):
            graphad.lax.fori_loop(0, 3, turn, start)


def test_what_is_carried_takes_its_dtype_in_as_many_passes_as_it_needs() -> None:
    """JAX looks once, and refuses."""
    turn = lambda i, t: (t[0] * 0.5, t[1] + t[0], t[2] + t[1])
    found = graphad.lax.fori_loop(0, 3, turn, (8, 0, 0))
    assert [float(x) for x in found] == [1.0, 14.0, 20.0]
    assert [x.dtype for x in found] == [np.float32] * 3


@pytest.mark.parametrize("bounds", [(0.0, 3), (0, np.float32(3)), (False, True), (0, np.arange(3))])
def test_bounds_are_integers(bounds: tuple[Any, Any]) -> None:
    for wrap in (lambda f: f, graphad.jit):
        with pytest.raises(TypeError, match=r"lax\.fori_loop counts between integers without axes, not to"):
            wrap(lambda a, b: graphad.lax.fori_loop(a, b, lambda i, t: t + i, 0))(*bounds)
