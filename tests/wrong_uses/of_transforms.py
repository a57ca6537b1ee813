"""Wrong uses of `vmap`, `jit` and the rest of the library: name -> (the use, its error, what the message says)."""

from __future__ import annotations

import pickle

import graphad
import graphad.numpy as gnp
from graphad.errors import DeletedArrayError

V = gnp.array([1.0, 2.0, 3.0])
M = gnp.ones((2, 3))


def use_donated():
    x = gnp.ones(3)
    graphad.jit(lambda x: x * 2, donate_argnums=0)(x)
    return x + 1


WRONG = {
    # vmap
    "an axis that is not there": (
        lambda: graphad.vmap(lambda x: x, in_axes=2)(V),
        ValueError,
        r"axis 2 of an argument of shape \(3,\).*Use None",
    ),
    "a number to map over": (
        lambda: graphad.vmap(lambda x: x)(1.0),
        ValueError,
        r"shape \(\), which has 0 axes.*Use None",
    ),
    "batch axes of different sizes": (
        lambda: graphad.vmap(lambda x, y: x + y)(V, gnp.ones(4)),
        ValueError,
        r"different sizes \[3, 4\].*give None",
    ),
    "too few in_axes": (
        lambda: graphad.vmap(lambda x, y: x, in_axes=(0,))(V, V),
        ValueError,
        "in_axes has 1 entries, but the call has 2 positional arguments",
    ),
    "in_axes of another structure": (
        lambda: graphad.vmap(lambda p: p["a"], in_axes=({"b": 0},))({"a": V}),
        ValueError,
        "does not match the structure of the arguments",
    ),
    "in_axes that are no ints": (
        lambda: graphad.vmap(lambda x: x, in_axes=1.5)(V),
        TypeError,
        "ints and None, not 1.5",
    ),
    "nothing to map": (
        lambda: graphad.vmap(lambda x: x, in_axes=None)(V),
        ValueError,
        "no argument is mapped; give axis_size=",
    ),
    "a mapped result without an axis": (
        lambda: graphad.vmap(lambda x: x, out_axes=None)(V),
        ValueError,
        "has a batch axis",
    ),
    "an axis for a result that has none": (
        lambda: graphad.vmap(lambda x: x, out_axes=3)(V),
        ValueError,
        "out_axes=3 is no axis",
    ),
    "out_axes of another structure": (
        lambda: graphad.vmap(lambda x: x, out_axes=(0, 0))(V),
        ValueError,
        "does not match the structure of the result",
    ),
    "out_axes that are no ints": (
        lambda: graphad.vmap(lambda x: x, out_axes="a")(V),
        TypeError,
        "ints and None, not 'a'",
    ),
    # jit
    "an unhashable static argument": (
        lambda: graphad.jit(lambda x, k: x, static_argnums=1)(1.0, [1, 2]),
        TypeError,
        "static argument 1 is a list.*tuple",
    ),
    "an unknown static name": (
        lambda: graphad.jit(lambda x, n: x, static_argnames="m"),
        ValueError,
        r"static_argnames names \['m'\], but the arguments are \['x', 'n'\]",
    ),
    "a string as an argument": (
        lambda: graphad.jit(lambda x: x)("hi"),
        TypeError,
        "array or a number, not str.*static arguments of jit",
    ),
    "a complex argument": (lambda: graphad.grad(lambda x: x)(1j), TypeError, "complex numbers are not supported"),
    "a string as a result": (
        lambda: graphad.jit(lambda x: {"a": "hi"})(1.0),
        TypeError,
        r"lambda returned a str at result\['a'\]",
    ),
    "an object as a result": (lambda: graphad.grad(lambda x: object())(1.0), TypeError, "returned a object at result"),
    "hash of an array": (lambda: {V: 1}, TypeError, r"unhashable.*x\.tobytes\(\), x\.item\(\) or tuple"),
    # the rest of the library
    "a number for a key": (lambda: graphad.random.normal(0, (3,)), TypeError, r"normal takes a key.*key\(0\)"),
    "a float seed": (lambda: graphad.random.key(0.5), TypeError, "key takes an integer as seed"),
    "a field without a value": (lambda: graphad.debug.print("{x}", 1), TypeError, r"no value for \{x\}.*pass x="),
    "too few values to print": (
        lambda: graphad.jit(lambda x: graphad.debug.print("{} {}", x))(1.0),
        TypeError,
        r"one \{\} for each value",
    ),
    "a mode that does not exist": (
        lambda: graphad.check_grads(gnp.sin, (1.0,), 1, modes=["both"]),
        ValueError,
        "modes 'fwd' and 'rev', not",
    ),
    # pickling and donation
    "pickling a lambda": (
        lambda: pickle.dumps(graphad.jit(lambda x: x)),
        TypeError,
        "cannot be pickled: lambda was made while the program ran.*Define it with def",
    ),
    "donating an array twice": (
        lambda: graphad.jit(lambda x, y: x + y, donate_argnums=0)(V, V),
        ValueError,
        "the array in argument 0, which is donated, is passed a second time.*Pass a copy",
    ),
    "using what was donated": (
        use_donated,
        DeletedArrayError,
        "this array is deleted: it was donated.*Use what that function returned",
    ),
}
