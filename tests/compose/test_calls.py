"""The second call of a compiled function: it enters machine code as what is passed stands, whatever that is.

The oracle is the function itself on the same arguments, run by NumPy. That the short way is taken is seen by
`Jit._bind`, which looks at the arguments in Python and must not run.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.jit import Jit
from graphad.errors import DeletedArrayError
from graphad.trace.pytree import flatten
from graphad.trace.structures import builder, opener

Pair = namedtuple("Pair", ["x", "y"])


@graphad.tree_util.register_dataclass
@dataclass
class Model:
    w: object
    b: object


A, B = np.arange(6.0).reshape(2, 3), np.arange(6, dtype=np.float32).reshape(2, 3) - 2
ARGUMENTS = {
    "arrays": ((A, B), {}),
    "Arrays": ((gnp.asarray(A), gnp.asarray(B)), {}),
    "numbers": ((1.5, 2), {}),
    "np.float64": ((np.float64(1.5), B), {}),
    "keywords": ((A,), {"y": B}),
    "only keywords": ((), {"y": B, "x": A}),
    "dicts": (({"b": A, "a": B}, B), {}),
    "lists and tuples": (([A, (B, 2.5)], (A,)), {}),
    "None": ((A, None), {}),
    "empty": ((A, {}, [], ()), {}),
    "named tuples": ((Pair(A, [B]),), {}),
    "dataclasses": ((Model(A, {"k": B}), B), {}),
    "dataclasses in lists": (([Model(A, B), Model(B, 1.0)],), {"m": {"deep": Model(A, None)}}),
}


def total(*args, **kwargs):
    """Something of every leaf, in a structure."""
    leaves = flatten((args, kwargs))[0]
    return {
        "sum": sum((k + 1.0) * gnp.sum(gnp.asarray(x)) for k, x in enumerate(leaves)),
        "first": [gnp.asarray(leaves[0]) * 2],
    }


def same(result, expected):
    (got, tree), (want, other) = flatten(result), flatten(expected)
    assert tree == other
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-6)
        assert np.asarray(x).dtype == np.asarray(y).dtype


@pytest.fixture
def in_full(monkeypatch):
    """How often a call was looked at in Python."""
    calls = []
    bind = Jit._bind
    monkeypatch.setattr(Jit, "_bind", lambda self, *args: calls.append(args) or bind(self, *args))
    return calls


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_second_call_is_not_looked_at(name, in_full):
    args, kwargs = ARGUMENTS[name]
    f = graphad.jit(total)
    expected = f(*args, **kwargs)
    with graphad.config.override(disable_jit=True):
        same(expected, f(*args, **kwargs))
    before = len(in_full)
    for _ in range(3):
        same(f(*args, **kwargs), expected)
    assert len(in_full) == before


def test_another_structure_or_type_is_another_program(in_full):
    f = graphad.jit(total)
    for args, kwargs in ARGUMENTS.values():
        f(*args, **kwargs)
    for args, kwargs in ARGUMENTS.values():
        same(f(*args, **kwargs), total(*args, **kwargs))
    assert len(f._trees) == len(ARGUMENTS) - 1, "arrays of NumPy and ours have one signature"


def test_programs_for_containers_may_take_turns(in_full):
    f = graphad.jit(lambda d: d["x"] * 2)
    many = [{"x": np.arange(float(n))} for n in range(1, 5)]
    for d in many:
        f(d)
    before = len(in_full)
    for d in many * 3:
        np.testing.assert_array_equal(f(d), d["x"] * 2)
    assert len(in_full) == before


# --- static arguments


def power(x, n, *, up=True):
    return x**n if up else x**-n


def test_static_arguments_take_the_short_way(in_full):
    f = graphad.jit(power, static_argnums=1, static_argnames="up")
    calls = [((A + 1, 2), {}), ((A + 1, 3), {}), ((A + 1,), {"n": 2}), ((A + 1, 2), {"up": False})]
    for args, kwargs in calls:
        f(*args, **kwargs)
    before = len(in_full)
    for args, kwargs in calls * 2:
        np.testing.assert_allclose(f(*args, **kwargs), power(*args, **kwargs))
    assert len(in_full) == before


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (0.0, -0.0), (2, 2.0), ((1,), (True,)), ("a", "b")])
def test_static_values_are_told_apart(one, other):
    f = graphad.jit(lambda s, x: (repr(s) == repr(one)) + x, static_argnums=0)
    for _ in range(2):
        assert float(f(one, 1.0)) == 2
        assert float(f(other, 1.0)) == 1


def test_static_values_that_do_not_hash_or_compare():
    f = graphad.jit(lambda s, x: x + 1, static_argnums=0)
    f((1, 2), A)

    class Odd:
        def __eq__(self, other):
            raise TypeError("not to be compared")

        __hash__ = object.__hash__

    for value in (Odd(), (1, 2)):
        np.testing.assert_array_equal(f(value, A), A + 1)
    with pytest.raises(TypeError, match="does not hash"):
        f([1, 2], A)


# --- layouts


LAYOUTS = {
    "gaps": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed": lambda x: x[::-1][::1][::-1][:, ::-1][:, ::-1],
    "by columns": np.asfortranarray,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "zero strides": lambda x: gnp.ones(x.shape, x.dtype),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_in_any_layout(name, dtype, in_full):
    x = LAYOUTS[name](A.astype(dtype))
    flat, boxed = graphad.jit(lambda x: x * 2), graphad.jit(lambda d: [d["x"] * 2])
    for _ in range(2):
        flat(A.astype(dtype)), boxed({"x": A.astype(dtype)})
    before = len(in_full)
    np.testing.assert_array_equal(flat(x), np.asarray(x) * 2)
    np.testing.assert_array_equal(boxed({"x": x})[0], np.asarray(x) * 2)
    assert len(in_full) == before


def test_large_arrays_are_not_copied(monkeypatch):
    """Neither flat nor in containers: the program reads the caller's memory."""
    x = np.zeros(1000)
    for f, argument in [(lambda x: x[:1] + 1, x), (lambda d: d["x"][:1] + 1, {"x": x}), (lambda *, k: k[:1] + 1, None)]:
        g = graphad.jit(f)
        call = (lambda: g(argument)) if argument is not None else (lambda: g(k=x))
        call()
        for name in ("ascontiguousarray", "require", "array", "asarray"):
            monkeypatch.setattr(np, name, None)
        result = call()
        monkeypatch.undo()
        assert float(result[0]) == 1


def test_guards_of_calls_with_containers(in_full):
    @graphad.jit
    def f(d):
        return {"y": d["x"] + 1 if gnp.sum(d["x"]) > 0 else d["x"] - 1}

    for _ in range(3):
        for sign in (1, -1):
            np.testing.assert_array_equal(f({"x": sign * np.ones(3)})["y"], sign * 2 * np.ones(3))
            np.testing.assert_array_equal(f({"x": sign * np.ones((6,))[::2]})["y"], sign * 2 * np.ones(3))


# --- donated arguments


def test_donated_arguments_in_containers():
    f = graphad.jit(lambda p, x: {k: v + x for k, v in p.items()}, donate_argnums=0)
    p, x = {"a": gnp.arange(3.0), "b": gnp.arange(4.0)[:3]}, gnp.arange(3.0)
    for _ in range(3):
        new = f(p, x)
        with pytest.raises(DeletedArrayError):
            p["a"] + 1
        p = new
    np.testing.assert_array_equal(p["a"], 4 * np.arange(3.0))
    with pytest.raises(ValueError, match="a second time"):
        f({"a": x}, x)
    np.testing.assert_array_equal(x, np.arange(3.0))


# --- arrays as NumPy sees them


def test_numpy_reads_the_memory_of_arrays():
    x = gnp.arange(3.0)
    y = np.asarray(x)
    assert np.shares_memory(y, np.asarray(x))
    assert not y.flags.writeable
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        y.setflags(write=True)
    assert np.asarray(gnp.arange(3, dtype="bfloat16")).dtype == gnp.bfloat16
    for a in (gnp.zeros((2, 0)), gnp.zeros((2, 3)), gnp.array(True), gnp.arange(6).reshape(2, 3).T):
        np.testing.assert_array_equal(np.asarray(a), a._value)
        assert np.asarray(a).dtype == a.dtype


# --- the functions that open and build structures


@pytest.mark.parametrize("name", ARGUMENTS)
def test_structures_are_opened_and_built(name):
    args, kwargs = ARGUMENTS[name]
    leaves, treedef = flatten((args, kwargs))
    opened = opener(treedef)
    assert [id(x) for x in opened(args, kwargs)] == [id(x) for x in leaves]
    again = builder(treedef)(leaves)
    assert flatten(again)[1] == treedef
    assert [id(x) for x in flatten(again)[0]] == [id(x) for x in leaves]
    for other_args, other_kwargs in ARGUMENTS.values():
        found = opened(other_args, other_kwargs)  # what stands in a leaf's place is for the entry to refuse
        fits = found is not None and not any(isinstance(x, (dict, list, tuple, Model, type(None))) for x in found)
        assert fits == (flatten((other_args, other_kwargs))[1] == treedef)
    for odd in [((*args, A), kwargs), (args, {**kwargs, "more": A}), (args[1:], kwargs), ((object(),) * 3, kwargs)]:
        if flatten(odd)[1] != treedef:
            assert opened(*odd) is None


# --- the walk


def entered_again(call, folders):
    """Modules in these folders that are called while they wait for another module, but not by the user's function."""
    root, stack, found = str(Path(graphad.__file__).parent), [], set()

    def note(frame, event, _argument):
        file = frame.f_code.co_filename
        inside = file.startswith(root) and file[len(root) + 1 :].startswith(folders)
        module = file[len(root) + 1 :] if inside else "user" if file == __file__ else None
        if event == "call":
            if inside and "user" not in stack and module in stack and [m for m in stack if m is not None][-1] != module:
                found.add(module)
            stack.append(module)
        elif event == "return" and stack:
            stack.pop()

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def test_control_goes_down_and_comes_back():
    """No module is entered again after control has left it for one below; see "A call, walked" in the architecture."""

    @graphad.jit
    def f(d, s):
        return {"y": d["w"] * s if s > 0 else d["w"]}

    d = {"w": np.arange(3.0)}
    first = partial(f, d, 2.0)
    assert not entered_again(first, ("api/", "backends/cpu/", "passes/")), "the first call"
    assert not entered_again(first, ("",)), "the second call"
    assert not entered_again(partial(f, d, -2.0), ("api/", "backends/cpu/", "passes/")), "a guard that fails"
    f(d, 2.0)
    assert not entered_again(partial(f, d, -2.0), ("api/", "backends/", "passes/")), "a path that is known"
    assert not entered_again(partial(f, {"w": np.arange(6.0)[::2]}, 2.0), ("",)), "another layout"
