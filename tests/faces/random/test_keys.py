"""Typed keys are what JAX's are: arrays of an element type of their own, within every transformation."""

from __future__ import annotations

import copy
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import dtypes, lax, random
from graphad.errors import DifferentiationError, KeyOperandError
from graphad.trace.keys import KeyArray
from tests.faces.cases import texts
from tests.faces.oracle import ASKS_FOR_VALUES

KEY = random.key(3)
KEYS = random.split(random.key(7), 3)
GRID = random.split(random.key(1), (2, 3))

#: What gives keys, or answers a question about them: the same by JAX.
CASES = texts("""
key; keys; keys[0]; keys[-1]; keys[1:]; keys[::-2]; keys[None]; keys[..., None]; keys[..., -1]; grid[:, 1]; grid[1];
grid[0, 1]; grid[..., 1]; grid[:, None, ::2]; keys[np.array([2, 0])]; keys[np.array([True, False, True])];
grid[np.array([0, 1]), np.array([1, 1])]; grid[np.array([0, 1]), None, np.array([1, 1])]; keys[numpy.array([1, 1])];
list(keys); [list(row) for row in grid]; key == key; keys == key; keys == keys[1]; grid != keys; key == None;
key != None; np.equal(keys, keys[0]); np.not_equal(grid, keys); np.array_equal(keys, keys); np.array_equal(keys, grid);
np.stack([key, keys[0]]); np.stack([keys, keys[::-1]], axis=-1); np.stack(list(keys)); np.array([key, keys[1]]);
np.array([[key, keys[1]], [key, key]]); np.asarray(keys); np.asarray([key, key]); np.copy(keys);
np.concatenate([keys, keys]); np.concatenate([grid, grid], axis=1); np.concatenate([grid, grid], axis=-1);
np.concatenate([grid, keys], axis=None); np.append(keys, key); np.append(grid, grid, 0); np.hstack([keys, keys]);
np.vstack([keys, keys]); np.dstack([keys, keys]); np.column_stack([keys, keys]); np.block([[grid], [grid]]);
np.reshape(grid, (3, 2)); np.reshape(grid, -1); np.reshape(grid, (-1, 1, 2)); grid.reshape(6); grid.reshape(3, -1);
np.ravel(grid); grid.ravel(); grid.flatten(); grid.T; np.transpose(grid); grid.transpose(); grid.transpose(1, 0);
np.permute_dims(grid, (1, 0)); np.matrix_transpose(grid); np.swapaxes(grid, 0, -1); grid.swapaxes(0, 1);
np.moveaxis(grid, -1, 0); np.rollaxis(grid, 1); np.squeeze(grid[None]); np.squeeze(grid[..., None], axis=-1);
keys[None].squeeze(); np.expand_dims(keys, -1); np.expand_dims(grid, (0, -1)); np.atleast_1d(key); np.atleast_2d(keys);
np.atleast_3d(keys); np.broadcast_to(key, (2, 2)); np.broadcast_to(keys, (2, 3)); np.broadcast_arrays(keys, grid);
np.split(grid, 3, axis=1); np.split(keys, [1]); np.array_split(keys, 2); np.hsplit(grid, 3); np.vsplit(grid, 2);
np.unstack(grid, axis=1); np.flip(grid); np.flip(grid, axis=-1); np.fliplr(grid); np.flipud(grid); np.roll(grid, 1);
np.roll(grid, 1, axis=-1); np.rot90(grid); np.tile(keys, (2, 2)); np.tile(keys, 2); np.repeat(keys, 2);
np.repeat(grid, 2, axis=-1); np.resize(grid, (3, 3)); np.insert(keys, 1, key); np.delete(grid, 1, axis=-1);
np.take(grid, 4); np.take(grid, np.array([1, 0]), axis=-1); grid.take(1); np.take_along_axis(keys, np.array([2, 0]), 0);
np.where(np.array([True, False, True]), keys, key); np.where(np.array([[True], [False]]), keys, grid);
np.where(True, key, keys); np.select([np.array([True, False, False])], [keys], keys[::-1]); np.full((2,), key);
np.full((2, 3), keys); np.full_like(keys, key); np.zeros_like(grid); np.empty_like(keys); np.ones_like(key);
np.zeros((2,), key.dtype); np.empty((), key.dtype); np.shape(grid); np.ndim(grid); np.size(grid); np.size(grid, 1);
grid.shape; grid.ndim; grid.size; grid.nbytes; key.itemsize; len(grid); numpy.shape(grid); numpy.ndim(key);
keys.at[0].set(key); keys.at[1:].set(key); grid.at[:, -1].set(key); grid.at[..., 0].set(keys[:2]); keys.at[1].get();
keys.at[np.array([0, 5])].set(key); lax.reshape(grid, (3, 2)); lax.transpose(grid, (1, 0)); lax.rev(grid, (1,));
lax.concatenate([keys, keys], 0); lax.broadcast(key, (2,)); lax.broadcast_in_dim(keys, (2, 3), (1,));
lax.slice(grid, (0, 1), (2, 3)); lax.slice_in_dim(grid, 0, 2, axis=-1); lax.dynamic_slice(grid, (1, 1), (1, 2));
lax.dynamic_slice_in_dim(keys, 1, 2); lax.dynamic_index_in_dim(grid, 1, -1);
lax.dynamic_index_in_dim(keys, 1, keepdims=False); lax.dynamic_update_slice(keys, keys[:1], (2,));
lax.dynamic_update_index_in_dim(keys, key, 1, 0); lax.expand_dims(keys, (0,));
lax.select(np.array([True, False, True]), keys, keys[::-1]); lax.squeeze(keys[None], (0,)); lax.stop_gradient(keys);
random.key_data(keys); random.key_data(key); random.wrap_key_data(random.key_data(grid)); random.key_impl(keys);
random.key_impl(random.PRNGKey(0)); random.PRNGKey(5); random.key(5); random.key(5, impl='threefry2x32');
random.clone(key); random.clone(random.PRNGKey(1)); random.split(key); random.split(key, (2, 2));
random.fold_in(key, 9); random.bits(key, (3,)); random.key_data(random.split(random.PRNGKey(3)));
random.choice(key, keys, (4,)); random.choice(key, grid, (2,), axis=1); m.jit(lambda k: np.stack([k, k]))(keys);
m.jit(lambda k: {'a': k[0], 'b': [k]})(keys); m.jit(lambda: np.concatenate([keys, keys]))();
m.jit(lambda k: random.split(k)[1] == k)(key); m.vmap(random.split)(keys); m.vmap(random.split, out_axes=1)(keys);
m.vmap(lambda k: random.split(k, 4), out_axes=-1)(keys); m.vmap(lambda k: random.split(k, 4), out_axes=-2)(keys);
m.vmap(lambda k: k, in_axes=-1)(grid); m.vmap(lambda k: k, in_axes=1, out_axes=-1)(grid);
m.vmap(m.vmap(random.bits))(grid); m.vmap(random.key)(np.arange(4));
m.vmap(lambda k, s: random.fold_in(k, s), in_axes=(None, 0))(key, np.arange(3));
m.vmap(lambda p: p['k'], in_axes=({'k': -1},), out_axes=-1)({'k': grid});
m.vmap(lambda x: (key, x), out_axes=(None, 0))(np.arange(3)); m.vmap(lambda k: (k == key, np.stack([k, key])))(keys);
m.vmap(lambda k: lax.all_gather(k, 'i'), axis_name='i')(keys);
m.vmap(lambda k: lax.all_gather(k, 'i', axis=-1), axis_name='i')(grid);
m.vmap(lambda k: lax.all_gather(k, 'i', axis=-1, tiled=True), axis_name='i')(grid);
m.vmap(lambda k: lax.ppermute(k, 'i', [(0, 1), (1, 0)]), axis_name='i')(grid);
m.vmap(lambda k: lax.all_to_all(k, 'i', 0, 0), axis_name='i')(np.stack([keys, keys[::-1], keys]));
m.checkpoint(lambda k: random.bits(k, (2,)))(key); m.tree.leaves({'b': key, 'a': [keys]});
m.tree.map(lambda k: k.shape, {'b': key, 'a': [keys]});
m.tree.map(lambda x, k: random.fold_in(k, x), (1, 2), (key, keys[0]));
m.tree.structure({'b': key}) == m.tree.structure({'b': 1}); m.tree.unflatten(m.tree.structure([1, 2, 3]), keys);
m.tree.transpose(m.tree.structure([0, 0]), m.tree.structure((0, 0)), [(key, 1), (key, 2)]); str(key.dtype);
np.issubdtype(key.dtype, m.dtypes.prng_key); np.issubdtype(key.dtype, m.dtypes.extended); key.dtype == keys.dtype;
np.issubdtype(key.dtype, np.integer); np.issubdtype('uint32', m.dtypes.prng_key); np.issubdtype(key.dtype, np.generic)
""")


def run(case, module, keys):
    names = dict(zip(("key", "keys", "grid"), keys, strict=True))
    face = gnp if module is graphad else jnp
    return eval(case, {"m": module, "np": face, "lax": module.lax, "random": module.random, "numpy": np, **names})


def plain(x):
    """Arrays and keys as NumPy arrays, with what they are."""
    if isinstance(x, (list, tuple)):
        return [plain(y) for y in x]
    if isinstance(x, dict):
        return {name: plain(y) for name, y in x.items()}
    if isinstance(x, KeyArray) or (isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)):
        data = (random if isinstance(x, KeyArray) else jax.random).key_data(x)
        return "keys", x.shape, np.asarray(data).tolist()
    return (np.asarray(x).dtype.name, np.asarray(x).tolist()) if hasattr(x, "dtype") else x


@pytest.fixture(scope="module")
def by_jax():
    """What JAX finds for all cases: one program, which takes about as long as a few operations, and what it knows."""
    known = {}

    def program(keys):
        made = {}
        for case in CASES:
            try:
                leaves, treedef = jax.tree.flatten(run(case, jax, keys))
            except ASKS_FOR_VALUES:
                continue
            known[case] = treedef, [None if hasattr(x, "shape") else x for x in leaves]
            made[case] = [x if hasattr(x, "shape") else None for x in leaves]
        return made

    keys = [jax.random.wrap_key_data(np.asarray(random.key_data(k))) for k in (KEY, KEYS, GRID)]
    with jax.threefry_partitionable(False):
        made = jax.jit(program)(keys)
        found = {case: plain(run(case, jax, keys)) for case in CASES if case not in made}
    for case, (treedef, leaves) in known.items():
        both = [b if a is None else a for a, b in zip(leaves, made[case], strict=True)]
        found[case] = plain(treedef.unflatten(both))
    return found


@pytest.mark.parametrize("case", CASES)
def test_as_jax(case, by_jax):
    assert plain(run(case, graphad, (KEY, KEYS, GRID))) == by_jax[case]


@pytest.mark.parametrize("case", [c for c in CASES if re.match(r"(np|lax|keys?|grid|random)\b.*[.\[]", c)])
def test_traced_as_eager(case):
    """Keys that are arguments of a compiled function, as far as its result is one that such a function can have."""
    eager = run(case, graphad, (KEY, KEYS, GRID))
    leaves = graphad.tree.leaves(eager)
    if not all(isinstance(x, (KeyArray, gnp.ndarray)) for x in leaves):
        pytest.skip("its result is known while tracing")
    assert plain(graphad.jit(lambda *keys: run(case, graphad, keys))(KEY, KEYS, GRID)) == plain(eager)


def test_text():
    assert repr(KEY.dtype) == "key<fry>"
    assert repr(random.key(42)) == "Array((), dtype=key<fry>) overlaying:\n[ 0 42]"
    assert f"{random.key(42)}" == repr(random.key(42))
    shown = []
    graphad.jit(lambda k: shown.append(repr(k)) or k)(KEY)
    assert shown == ["KeyArray((), dtype=key<fry>) of Tracer(u32[2]) of lambda"]


def test_copies_are_the_keys():
    for other in (pickle.loads(pickle.dumps(KEYS)), copy.deepcopy(KEYS), KEYS.copy(), graphad.device_put(KEYS)):
        assert (other == KEYS).all()
        assert other.dtype is KEY.dtype
    assert KEY.block_until_ready() is KEY
    assert KEY.devices() == {KEY.device}


def test_graphs_have_words_alone():
    graph = graphad.make_graph(lambda k: random.split(k)[0])(graphad.ShapeDtypeStruct((), KEY.dtype))
    assert [repr(a) for a in (*graph.in_avals, *graph.out_avals)] == ["u32[2]", "u32[2]"]
    moved = graphad.make_graph(lambda k: gnp.moveaxis(k, 0, -1))(GRID)
    assert repr(moved.out_avals[0]) == "u32[3,2,2]"


def test_types_without_values():
    like = graphad.ShapeDtypeStruct((3,), KEY.dtype)
    assert graphad.eval_shape(lambda k: k, KEYS) == like
    assert graphad.eval_shape(lambda k: {"k": random.split(k[0], 3)}, like) == {"k": like}
    assert repr(like) == "ShapeDtypeStruct(shape=(3,), dtype=key<fry>)"
    assert like != graphad.ShapeDtypeStruct((3,), "uint32")


def test_paths_of_compiled_functions():
    calls = []

    @graphad.jit
    def f(state):
        calls.append(1)
        return random.normal(state["key"], (2,)) * state["scale"]

    for k in KEYS:
        np.testing.assert_array_equal(f({"key": k, "scale": 1.0}), random.normal(k, (2,)))
    assert len(calls) == 1
    f({"key": random.PRNGKey(0), "scale": 1.0})
    assert len(calls) == 2


def test_derivatives_beside_keys():
    f = lambda x, k: (x * random.normal(k, (2,))).sum()
    slope = random.normal(KEY, (2,)).sum()
    nothing = np.zeros((), graphad.float0)
    np.testing.assert_allclose(graphad.grad(f)(2.0, KEY), slope)
    np.testing.assert_allclose(graphad.jit(graphad.grad(f))(2.0, KEY), slope)
    np.testing.assert_allclose(graphad.hessian(lambda x: f(x, KEY) ** 2)(1.0), 2 * slope**2, rtol=1e-6)
    np.testing.assert_allclose(graphad.jvp(f, (2.0, KEY), (1.0, nothing))[1], slope)
    for cts in (graphad.vjp(f, 2.0, KEY)[1](1.0), graphad.grad(f, (0, 1), allow_int=True)(2.0, KEY)):
        np.testing.assert_allclose(cts[0], slope)
        assert (cts[1].shape, cts[1].dtype) == ((), graphad.float0)
    by_row = graphad.vmap(graphad.grad(f), in_axes=(None, -1))(1.0, KEYS)
    np.testing.assert_allclose(by_row, [random.normal(k, (2,)).sum() for k in KEYS], rtol=1e-6)


@pytest.mark.parametrize("ct", [None, np.zeros((), graphad.float0)])
def test_rules_of_ones_own(ct):
    @graphad.custom_vjp
    def f(x, k):
        return x * random.normal(k)

    f.defvjp(lambda x, k: (f(x, k), k), lambda k, g: (3 * g * random.normal(k), ct))

    @graphad.custom_jvp
    def h(x, k):
        return x * random.normal(k)

    h.defjvp(lambda p, t: (h(*p), 3 * t[0] * random.normal(p[1])))
    for rule in (f, h):
        np.testing.assert_allclose(graphad.grad(rule)(2.0, KEY), 3 * random.normal(KEY), rtol=1e-6)
        rows = graphad.jit(graphad.vmap(graphad.grad(rule), in_axes=(None, 0)))(2.0, KEYS)
        np.testing.assert_allclose(rows, [3 * random.normal(k) for k in KEYS], rtol=1e-6)


def test_loops_in_python():
    def walk(key, n):
        x = 0.0
        for k in random.split(key, n):
            x = x + random.normal(k)
        return x

    np.testing.assert_allclose(graphad.jit(walk, static_argnums=1)(KEY, 4), walk(KEY, 4), rtol=1e-6)


WRONG = {
    "addition": (lambda: KEYS + 1, r"\+ got keys \(key<fry>\[3\]\).*graphad.random.key_data"),
    "addition from the left": (lambda: 1 + KEY, r"\+ got keys"),
    "an array of NumPy's": (lambda: np.ones(3) * KEYS, r"\* got keys"),
    "an array of ours": (lambda: gnp.ones(3) * KEYS, "multiply got keys"),
    "negation": (lambda: -KEY, "- got keys"),
    "order": (lambda: KEYS < KEYS, "< got keys"),
    "products": (lambda: KEYS @ KEYS, "@ got keys"),
    "equality with numbers": (lambda: KEY == 1, "== compares keys with keys, got int"),
    "equality with arrays": (lambda: gnp.ones(3) == KEYS, "equal got keys beside other arrays"),
    "truth": (lambda: bool(KEY == KEY) and bool(KEY), "bool got keys"),
    "a float": (lambda: float(KEY), "float got keys"),
    "NumPy": (lambda: np.asarray(KEYS), "np.asarray got keys.*key_data"),
    "a function of NumPy's": (lambda: np.sin(KEYS), "does not support ufuncs"),
    "sin": (lambda: gnp.sin(KEY), "sin got keys"),
    "sum": (lambda: gnp.sum(KEYS), "sum got keys"),
    "sort": (lambda: gnp.sort(KEYS), "sort got keys"),
    "pad": (lambda: gnp.pad(KEYS, 1), "pad got keys"),
    "astype": (lambda: gnp.astype(KEYS, int), "astype got keys"),
    "relu": (lambda: graphad.nn.relu(KEY), "relu got keys"),
    "keys and numbers": (lambda: gnp.stack([KEY, gnp.zeros(2)]), "stack got keys beside other arrays"),
    "keys and words": (lambda: gnp.concatenate([KEYS, random.key_data(KEYS)]), "concatenate got keys beside"),
    "keys or numbers": (lambda: gnp.where(True, KEY, 1), "where got keys beside other arrays"),
    "keys to choose by": (lambda: gnp.take(gnp.arange(3), KEY), "take got keys"),
    "set a number": (lambda: KEYS.at[0].set(1), r"keys.at\[i\].set takes keys, got int"),
    "a key as a seed": (lambda: random.key(KEY), "key got keys"),
    "a vector of all leaves": (lambda: graphad.flatten_util.ravel_pytree([KEY, 1.0]), "ravel_pytree got keys"),
    "a sum over a batch": (lambda: graphad.vmap(lambda k: lax.psum(k, "i"), axis_name="i")(KEYS), "lax.psum got keys"),
    "a maximum over a batch": (
        lambda: graphad.vmap(lambda k: lax.pmax(k, "i"), axis_name="i")(KEYS),
        "lax.pmax got keys",
    ),
    "within a compiled function": (lambda: graphad.jit(lambda k: k * 2)(KEY), r"\* got keys"),
}


@pytest.mark.parametrize(("use", "message"), WRONG.values(), ids=WRONG)
def test_keys_are_no_numbers(use, message):
    with pytest.raises(TypeError, match=message) as caught:
        use()
    if type(caught.value) is KeyOperandError:
        assert str(caught.value).startswith("test_keys.py:")


OTHERS = {
    "several keys": (lambda: random.normal(KEYS), TypeError, r"normal takes a key.*got key<fry>\[3\].*graphad.vmap"),
    "several keys to split": (lambda: random.split(KEYS), TypeError, "split takes a key"),
    "another generator": (lambda: random.key(0, impl="rbg"), ValueError, "the one generator is 'threefry2x32'"),
    "too few words": (lambda: random.wrap_key_data(gnp.zeros(3, "uint32")), TypeError, r"takes uint32\[..., 2\]"),
    "signed words": (lambda: random.key_data(gnp.zeros(2, int)), TypeError, r"key_data takes uint32\[..., 2\]"),
    "the words of a number": (lambda: random.key_data(1.0), TypeError, "key_data takes uint32"),
    "a key to iterate over": (lambda: list(KEY), TypeError, r"iteration over a key.*random.split\(key, n\)"),
    "the length of a key": (lambda: len(KEY), TypeError, r"len\(\) of a key"),
    "too many indices": (lambda: KEYS[0, 0], IndexError, "too many indices"),
    "an index of a key": (lambda: KEY[0], IndexError, "too many indices"),
    "an index out of range": (lambda: KEYS[3], IndexError, "out of range|out of bounds"),
    "assignment": (lambda: KEYS.__setitem__(0, KEY), TypeError, r"keys.at\[i\].set\(key\)"),
    "hashing": (lambda: hash(KEY), TypeError, "unhashable"),
    "the axis of the words": (
        lambda: graphad.vmap(lambda k: k, in_axes=1)(KEYS),
        ValueError,
        r"in_axes asks for axis 1 of an argument of shape \(3,\)",
    ),
    "the axis of the words of a result": (
        lambda: graphad.vmap(lambda k: k, out_axes=1)(KEYS),
        ValueError,
        "out_axes=1 is no axis of a result with 1 axes",
    ),
    "sizes that differ": (
        lambda: graphad.vmap(lambda k, x: x)(KEYS, gnp.ones(2)),
        ValueError,
        r"arguments of shapes \(3,\), \(2,\)",
    ),
    "a derivative by a key": (
        lambda: graphad.grad(lambda k: 1.0)(KEY),
        DifferentiationError,
        "argument 0 is a random key, which has no derivative",
    ),
    "a tangent of a key": (
        lambda: graphad.jvp(lambda x, k: x, (1.0, KEY), (1.0, 1.0)),
        DifferentiationError,
        r"belong to a value of type key<fry>, .*np.zeros\(\(\), graphad.float0\)",
    ),
}


@pytest.mark.parametrize(("use", "error", "message"), OTHERS.values(), ids=OTHERS)
def test_wrong_uses(use, error, message):
    with pytest.raises(error, match=message):
        use()


def test_every_function_takes_both_forms():
    draws = {
        "ball": (2,), "bernoulli": (), "beta": (1.0, 2.0), "bits": (), "categorical": (np.zeros(3, np.float32),),
        "cauchy": (), "chisquare": (2.0,), "choice": (5,), "clone": (), "dirichlet": (np.ones(3, np.float32),),
        "double_sided_maxwell": (0.0, 1.0), "exponential": (), "f": (2.0, 3.0), "fold_in": (1,), "gamma": (2.0,),
        "generalized_normal": (2.0,), "geometric": (0.5,), "gumbel": (), "key_data": (), "key_impl": (), "laplace": (),
        "loggamma": (2.0,), "logistic": (), "lognormal": (), "maxwell": (),
        "multivariate_normal": (np.zeros(2), np.eye(2)), "normal": (), "orthogonal": (2,), "pareto": (2.0,),
        "permutation": (5,), "poisson": (2.0,), "rademacher": (), "randint": ((), 0, 9), "rayleigh": (1.0,),
        "shuffle": (np.arange(4),), "split": (), "t": (2.0,), "triangular": (0.0, 0.5, 1.0),
        "truncated_normal": (-1.0, 1.0), "uniform": (), "wald": (1.0,), "weibull_min": (1.0, 1.0),
    }  # fmt: skip
    assert set(draws) == set(dir(random)) - {"PRNGKey", "key", "wrap_key_data"}
    for name, args in draws.items():
        typed, raw = (getattr(random, name)(k, *args) for k in (KEY, random.key_data(KEY)))
        if isinstance(typed, KeyArray):
            assert np.issubdtype(raw.dtype, np.uint32)
            typed = random.key_data(typed)
        np.testing.assert_array_equal(typed, raw, err_msg=name)
    assert gnp.issubdtype(KEY.dtype, dtypes.prng_key)
    assert lax.reshape(KEYS, (3, 1)).shape == (3, 1)
