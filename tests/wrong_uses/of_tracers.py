"""Wrong uses of traced values: name -> (the use, its error, what the message says)."""

from __future__ import annotations

import math
import pickle

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.config import config
from graphad.errors import ConcretizationError, EndlessTraceError, TooManyPathsError, TracerBoolError, TracerLeakError

V = gnp.array([1.0, 2.0, 3.0])
M = gnp.ones((2, 3))


def assign(x, index, value):
    x[index] = value
    return x


def leak():
    kept = []
    graphad.grad(lambda x: kept.append(x * 2.0) or x)(1.0)
    return kept[0] + 1.0


def halved(x):
    while x > 1:
        x = x / 2
    return x


def endless(f):
    with config.override(max_equations=500):
        graphad.jit(f)(gnp.float32(np.inf))


def powers(_i, x):
    for _ in range(x):
        x = x + 1
    return x


def many_paths():
    f = graphad.jit(lambda n: int(n))
    with config.override(max_paths=3, warn_paths=63):
        for n in range(9):
            f(np.int32(n))


WRONG = {
    # tracers where Python needs a number
    "item assignment": (lambda: assign(V, 0, 1.0), TypeError, r"immutable.*Write x = x\.at\[0\]\.set\(v\)"),
    "item assignment under grad": (
        lambda: graphad.grad(lambda x: assign(x, slice(1, None), 1.0).sum())(V),
        TypeError,
        r"x = x\.at\[1:\]\.set\(v\)",
    ),
    "assignment by a mask": (
        lambda: graphad.jit(lambda x: assign(x, x > 0, 1.0))(V),
        TypeError,
        r"x\.at\[i\]\.set\(v\)",
    ),
    "float": (
        lambda: graphad.grad(lambda x: float(x) * x)(1.0),
        ConcretizationError,
        r"float\(x\).*would cut its derivative",
    ),
    "complex": (lambda: graphad.jit(lambda x: complex(x))(1.0), ConcretizationError, r"complex\(x\).*number behind"),
    "math function": (
        lambda: graphad.grad(lambda x: math.sin(x))(1.0),
        ConcretizationError,
        r"graphad\.numpy\.sin\(x\) for math\.sin",
    ),
    "NumPy conversion": (
        lambda: graphad.grad(lambda x: np.asarray(x).sum())(V),
        ConcretizationError,
        r"np\.asarray\(x\).*f32\[3\].*debug\.print",
    ),
    "NumPy's concatenate": (
        lambda: graphad.grad(lambda x: np.concatenate([x, x]).sum())(V),
        ConcretizationError,
        r"np\.concatenate needs the numbers.*Write graphad\.numpy\.concatenate\(",
    ),
    "NumPy's in-place operator": (
        lambda: graphad.grad(lambda x: np.zeros(3).__iadd__(x).sum())(V),
        ConcretizationError,
        r"in-place operator on a NumPy array.*Write a = a \+ x for a \+= x",
    ),
    "item": (lambda: graphad.grad(lambda x: x.item())(1.0), ConcretizationError, r"x\.item\(\) needs the number"),
    "tolist": (lambda: graphad.jit(lambda x: x.tolist())(V), ConcretizationError, r"x\.tolist\(\) needs the number"),
    "format": (
        lambda: graphad.jit(lambda x: f"{x:.2f}")(1.0),
        ConcretizationError,
        r"the format '\.2f' needs the number",
    ),
    "pickle": (lambda: graphad.jit(lambda x: pickle.dumps(x))(1.0), TypeError, "cannot be pickled.*Return it"),
    "float as an index": (
        lambda: graphad.jit(lambda x: [1, 2][x])(1.0),
        TypeError,
        r"only integer scalars.*f32\[\].*Write int\(x\)",
    ),
    "leaked tracer": (
        leak,
        TracerLeakError,
        r"outlived the trace of lambda; it was made at of_tracers\.py:\d+\. Return it",
    ),
    "hash of a tracer": (lambda: graphad.jit(lambda x: {x: 1})(1.0), TypeError, "unhashable"),
    # tracers where Python needs a decision
    "branch under vmap": (
        lambda: graphad.vmap(lambda x: x if x > 0 else -x)(V),
        TracerBoolError,
        r"batch axis of a vmap.*lambda x: x if x > 0.*Write graphad\.numpy\.where",
    ),
    "turns under vmap": (
        lambda: graphad.vmap(lambda x: [x for _ in range(int(x))])(V),
        TracerBoolError,
        "needs the integer behind",
    ),
    "branch without values": (
        lambda: graphad.eval_shape(lambda x: x if x > 0 else -x, 1.0),
        TracerBoolError,
        "its type alone was given",
    ),
    "branch in the body of a loop": (
        lambda: lax.scan(lambda c, x: (c * 2 if c > x else x, None), 0.0, V),
        TracerBoolError,
        r"body of lax\.scan.*The `if` of line \d+ as one equation:\n    lax\.cond\(c > x, lambda: c \* 2, lambda: x\)",
    ),
    "loop in the body of a loop": (
        lambda: lax.map(halved, V),
        TracerBoolError,
        r"as one equation.*def goes_on\(x\):\n        return x > 1\n.*    x = lax\.while_loop\(goes_on, turn, x\)",
    ),
    "a loop without end": (
        lambda: endless(halved),
        EndlessTraceError,
        r"max_equations = 500.*The `while` of line \d+ as one equation, for any number of turns:\n    def goes_on\(x\)",
    ),
    "turns by a traced number in the body of a loop": (
        lambda: lax.fori_loop(0, 3, powers, gnp.int32(1)),
        TracerBoolError,
        r"needs the integer behind.*def turn\(_, x\):\n        x = x \+ 1\n.*x = lax\.fori_loop\(0, x, turn, x\)",
    ),
    "truth of an array": (lambda: bool(V > 0), ValueError, r"shape \(3,\) is ambiguous. Use x\.any\(\) or x\.all\(\)"),
    "truth of a traced array": (
        lambda: graphad.jit(lambda x: 1.0 if x > 0 else 2.0)(V),
        ValueError,
        r"Use x\.any\(\) or x\.all\(\)",
    ),
    "int of an array": (lambda: int(V), TypeError, r"int\(\) takes an array of one element, not one of shape \(3,\)"),
    "too many paths": (many_paths, TooManyPathsError, r"3 paths.*where\(condition, a, b\).*config\.max_paths = 3"),
}
