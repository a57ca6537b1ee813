"""Callbacks to the host: eagerly, compiled, batched, differentiated by custom rules; their errors and their order."""

from __future__ import annotations

import traceback

import mpmath
import numpy as np
import pytest
import scipy.special

import graphad
import graphad.numpy as gnp
from graphad.errors import CallbackError, DifferentiationError, NonFiniteError, TracerBoolError
from graphad.experimental import io_callback

F32 = graphad.ShapeDtypeStruct((), "float32")
X = np.array([0.5, 1.5, 2.5], np.float32)


def like(x):
    return graphad.ShapeDtypeStruct(x.shape, x.dtype)


def sine(x, vmap_method=None):
    return graphad.pure_callback(np.sin, like(x), x, vmap_method=vmap_method)


each_engine = pytest.mark.parametrize("engine", ["llvm", "numba"])
each_way = pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit, lambda f: graphad.jit(graphad.jit(f))])


class Recorder:
    """A host function that counts its calls and remembers what it was given."""

    def __init__(self, function=lambda x: x):
        self.function = function
        self.seen = []

    def __call__(self, *args):
        self.seen.append(args)
        return self.function(*args)


# ---------------------------------------------------------------------------------------------------------------------
# Values


@each_engine
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (4, 1, 3)])
def test_arrays_of_every_type_go_there_and_back(dtype, shape, engine):
    x = gnp.ones(shape, dtype)
    host = Recorder(lambda x: x)
    with graphad.config.override(engine=engine):
        y = graphad.jit(lambda x: io_callback(host, like(x), x))(x)
    ((given,),) = host.seen
    assert type(given) is np.ndarray
    assert (given.dtype, given.shape) == (x.dtype, shape)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x))


@each_engine
def test_between_loops(engine):
    def f(x):
        y = graphad.pure_callback(lambda a: (np.cumsum(a, dtype=a.dtype), a[0]), (like(x), F32), x * 2.0)
        return gnp.sum(y[0] * x) + y[1]

    with graphad.config.override(engine=engine):
        found = graphad.jit(f)(X)
    assert float(found) == pytest.approx(float(np.sum(np.cumsum(2 * X) * X) + 2 * X[0]))
    assert float(f(X)) == pytest.approx(float(found))


@each_way
def test_containers_and_keywords(wrap):
    def host(pair, *, scale):
        return {"sum": pair[0] + pair[1] * scale, "none": None, "two": (pair[0], pair[1])}

    def f(a, b):
        promised = {"sum": like(a), "none": None, "two": (like(a), like(b))}
        return graphad.pure_callback(host, promised, (a, b), scale=gnp.float32(3.0))

    found = wrap(f)(gnp.asarray(X), gnp.asarray(X + 1))
    np.testing.assert_array_equal(found["sum"], X + 3 * (X + 1))
    np.testing.assert_array_equal(found["two"][1], X + 1)
    assert found["none"] is None


@each_way
def test_arguments_are_read_only_copies(wrap):
    kept = []

    def host(x):
        kept.append(x)
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1.0
        return x

    f = wrap(lambda x: graphad.pure_callback(host, like(x), x + 1.0))
    first = np.asarray(f(gnp.asarray(X)))
    f(gnp.asarray(X + 5))
    np.testing.assert_array_equal(kept[0], X + 1)
    np.testing.assert_array_equal(first, X + 1)


@each_way
def test_results_do_not_alias_what_the_function_keeps(wrap):
    mine = X.copy()
    y = wrap(lambda: graphad.pure_callback(lambda: mine, like(X)))()
    mine[:] = 0
    np.testing.assert_array_equal(y, X)


def test_numbers_take_the_promised_dtype():
    f = graphad.jit(lambda: graphad.pure_callback(lambda: (1.5, 2, True), (F32, F32, F32)))
    assert [float(x) for x in f()] == [1.5, 2.0, 1.0]


def test_equal_pure_calls_are_merged_and_unread_ones_dropped():
    host = Recorder()

    @graphad.jit
    def f(x):
        def call(x):
            return graphad.pure_callback(host, like(x), x)

        call(x + 1.0)
        return call(x) + call(x)

    f(gnp.asarray(X))
    assert len(host.seen) == 1


def test_one_of_two_results_is_read():
    f = graphad.jit(lambda x: graphad.pure_callback(lambda x: (x, 2 * x), (like(x), like(x)), x)[1])
    np.testing.assert_array_equal(f(X), 2 * X)


def test_a_callback_may_use_compiled_functions_itself_the_same_too():
    @graphad.jit
    def factorial(n):
        smaller = graphad.pure_callback(lambda n: np.float32(1 if n < 1 else factorial(n)), F32, n - 1.0)
        return n * smaller

    assert float(factorial(gnp.float32(5.0))) == 120


def test_what_a_callback_computes_is_no_part_of_the_trace():
    @graphad.jit
    def f(x):
        y = graphad.pure_callback(lambda x: np.asarray(gnp.sin(x)), like(x), x)
        return x if y > 0 else -x  # for which the function is called while tracing

    assert float(f(1.0)) == 1.0
    assert float(f(-1.0)) == 1.0


# ---------------------------------------------------------------------------------------------------------------------
# vmap


@each_way
def test_sequential_is_a_call_for_each_element(wrap):
    host = Recorder(lambda x, y: (x + y).astype(x.dtype))

    def f(x, y):
        return graphad.pure_callback(host, like(x), x, y, vmap_method="sequential")

    found = wrap(graphad.vmap(f, in_axes=(0, None)))(gnp.asarray(X), gnp.float32(2.0))
    np.testing.assert_array_equal(found, X + 2)
    assert [x.shape for x, _ in host.seen] == [()] * 3


@each_way
@pytest.mark.parametrize(
    ("method", "shapes"),
    [
        ("expand_dims", [(3, 2), (1, 2)]),
        ("broadcast_all", [(3, 2), (3, 2)]),
        ("legacy_vectorized", [(3, 2), (2,)]),
    ],
)
def test_one_call_for_the_batch(wrap, method, shapes):
    host = Recorder(lambda x, y: x * y)
    x, y = gnp.asarray(np.arange(6.0).reshape(3, 2)), gnp.asarray([2.0, 3.0])

    def f(x, y):
        return graphad.pure_callback(host, like(x), x, y, vmap_method=method)

    found = wrap(graphad.vmap(f, in_axes=(0, None)))(x, y)
    np.testing.assert_array_equal(found, np.asarray(x) * np.asarray(y))
    ((a, b),) = host.seen
    assert [a.shape, b.shape] == shapes


@pytest.mark.parametrize("method", ["sequential", "expand_dims", "broadcast_all"])
def test_nested(method):
    host = Recorder(lambda x, y: (x - 2 * y).astype(np.float64))
    x, y = gnp.asarray(np.arange(3.0)), gnp.asarray(np.arange(4.0) + 10)

    def f(x, y):
        return graphad.pure_callback(host, graphad.ShapeDtypeStruct((), "float64"), x, y, vmap_method=method)

    grid = graphad.jit(graphad.vmap(graphad.vmap(f, in_axes=(None, 0)), in_axes=(0, None)))(x, y)
    np.testing.assert_array_equal(grid, np.asarray(x)[:, None] - 2 * np.asarray(y))
    assert len(host.seen) == (12 if method == "sequential" else 1)
    if method == "expand_dims":
        assert [a.shape for a in host.seen[0]] == [(3, 1), (1, 4)]


def test_an_empty_batch():
    found = graphad.vmap(lambda x: sine(x, "sequential"))(gnp.zeros((0, 2)))
    assert found.shape == (0, 2)


def test_without_a_method():
    with pytest.raises(CallbackError, match=r"test_callbacks\.py:\d+: the callback sin .*vmap_method='sequential'"):
        graphad.vmap(sine)(gnp.asarray(X))


def test_an_ordered_callback_has_no_batch():
    def f(x):
        graphad.debug.callback(print, x, ordered=True)
        return x

    with pytest.raises(CallbackError, match="ordered=False"):
        graphad.vmap(f)(gnp.asarray(X))


def test_results_that_do_not_depend_on_the_batch():
    found = graphad.vmap(lambda x: x + graphad.pure_callback(lambda: np.float32(2), F32))(gnp.asarray(X))
    np.testing.assert_array_equal(found, X + 2)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


@pytest.mark.parametrize("transform", [graphad.grad, lambda f: graphad.jit(graphad.grad(f)), graphad.jacfwd])
@pytest.mark.parametrize("effect", [False, True])
def test_there_is_none(transform, effect):
    def f(x):
        return io_callback(np.sin, like(x), x) if effect else sine(x)

    with pytest.raises(DifferentiationError, match=r"test_callbacks\.py:\d+: .*custom_jvp or custom_vjp"):
        transform(f)(gnp.float32(1.0))


def test_none_is_needed_behind_stop_gradient_or_of_integers():
    def f(x):
        n = graphad.pure_callback(np.int32, graphad.ShapeDtypeStruct((), "int32"), x)
        return x * sine(graphad.stop_gradient(x)) * n

    assert float(graphad.jit(graphad.grad(f))(gnp.float32(2.0))) == pytest.approx(2 * np.sin(2.0), rel=1e-6)


@graphad.custom_jvp
def bessel(order, x):
    promised = graphad.ShapeDtypeStruct(gnp.broadcast_shapes(order.shape, x.shape), x.dtype)
    host = lambda v, z: scipy.special.jv(v, z).astype(z.dtype)
    return graphad.pure_callback(host, promised, order, x, vmap_method="broadcast_all")


@bessel.defjvp
def bessel_jvp(primals, tangents):
    order, x = primals
    slope = gnp.where(order == 0, -bessel(order + 1, x), 0.5 * (bessel(order - 1, x) - bessel(order + 1, x)))
    return bessel(order, x), slope * tangents[1]


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_bessel_function_with_a_rule_of_its_own(wrap, order):
    f = lambda x: bessel(gnp.int32(order), x)
    for x in (0.3, 2.0, 7.5):
        at = gnp.float64(x)
        assert float(wrap(f)(at)) == pytest.approx(float(mpmath.besselj(order, x)), rel=1e-12)
        assert float(wrap(graphad.grad(f))(at)) == pytest.approx(float(mpmath.besselj(order, x, 1)), rel=1e-10)
        second = float(wrap(graphad.grad(graphad.grad(f)))(at))
        assert second == pytest.approx(float(mpmath.besselj(order, x, 2)), rel=1e-9, abs=1e-12)
    xs = np.linspace(0.5, 6, 5)
    found = wrap(graphad.vmap(graphad.grad(f)))(gnp.asarray(xs))
    np.testing.assert_allclose(found, scipy.special.jvp(order, xs), rtol=1e-10)


def test_in_a_custom_vjp_rule():
    @graphad.custom_vjp
    def f(x):
        return sine(x)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * graphad.pure_callback(np.cos, like(x), x),))
    for wrap in (lambda g: g, graphad.jit):
        found = wrap(graphad.grad(lambda x: gnp.sum(f(x) * x)))(gnp.asarray(X))
        np.testing.assert_allclose(found, np.sin(X) + X * np.cos(X), rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit])
def test_debug_callback_stands_outside_of_the_mathematics(wrap):
    host = Recorder()

    def f(x):
        graphad.debug.callback(host, x)
        return x * x

    assert float(wrap(graphad.grad(f))(3.0)) == 6.0
    assert float(wrap(graphad.grad(graphad.checkpoint(f)))(3.0)) == 6.0
    assert float(wrap(lambda x: graphad.jvp(f, (x,), (gnp.float32(1.0),))[1])(gnp.float32(3.0))) == 6.0
    assert [float(x) for (x,) in host.seen] == [3.0] * 3
    wrap(graphad.vmap(f))(gnp.asarray(X))
    assert [float(x) for (x,) in host.seen[3:]] == [0.5, 1.5, 2.5]


def test_checkpoint_would_need_the_results_of_an_effect_again():
    @graphad.checkpoint
    def f(x):
        return gnp.sin(x * io_callback(lambda: np.float32(2), F32))

    with pytest.raises(CallbackError, match=r"test_callbacks\.py:\d+: io_callback .*outside of checkpoint"):
        graphad.grad(f)(1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Effects


@each_engine
@each_way
def test_effects_happen_in_order_and_as_often_as_said(capsys, wrap, engine):
    @wrap
    def f(x):
        graphad.debug.print("first {}", x)
        io_callback(lambda x: print("second", x), None, x)
        io_callback(lambda x: print("second", x), None, x)
        graphad.debug.print("third {}", x + 1)
        graphad.debug.callback(lambda *_: print("fourth"))
        return x

    with graphad.config.override(engine=engine):
        for _ in range(2):
            f(1.0)
            assert capsys.readouterr().out.splitlines() == [
                "first 1.0",
                "second 1.0",
                "second 1.0",
                "third 2.0",
                "fourth",
            ]


@each_engine
@pytest.mark.parametrize("calls_before", [0, 1, 2])
def test_a_guard_that_fails_calls_nobody_twice(capsys, engine, calls_before):
    host = Recorder(lambda x: np.float32(100 * len(host.seen)))

    @graphad.jit
    def f(x):
        total = x
        for _ in range(calls_before):
            total = total + io_callback(host, F32, x)
            graphad.debug.print("called for {}", x)
        if x > 0:
            return total + io_callback(host, F32, x + 0.5)
        if x < -10:
            return total
        return total - io_callback(host, F32, x - 0.5)

    with graphad.config.override(engine=engine):
        for x in (1.0, -1.0, -20.0, 2.0, -3.0, -30.0):
            host.seen.clear()
            found = float(f(x))
            after = [] if x < -10 else [x + 0.5 if x > 0 else x - 0.5]
            assert [float(a) for (a,) in host.seen] == [x] * calls_before + after
            before = 100 * sum(range(1, calls_before + 1))
            last = 100 * (calls_before + 1) * len(after)
            assert found == x + before + (last if x > 0 else -last)
            assert capsys.readouterr().out.splitlines() == [f"called for {x}"] * calls_before


def test_an_effect_behind_a_guard_waits_for_it():
    host = Recorder(lambda x: None)

    @graphad.jit
    def f(x):
        if x > 0:
            io_callback(host, None, x)
        return x

    f(1.0)
    f(-1.0)
    assert len(host.seen) == 1


def test_programs_that_contradict_each_other_call_once(monkeypatch):
    from tests.compose.test_jit_paths import _lie

    host = Recorder(lambda x: np.float32(len(host.seen)))
    f = graphad.jit(lambda x: (io_callback(host, F32, x), x * 2.0 if gnp.exp(x) > 3.0 else x * 3.0))
    f(1.0)
    f(2.0)
    host.seen.clear()
    _lie(monkeypatch, lambda expected: True)
    assert float(f(1.0)[0]) == 1.0
    assert len(host.seen) == 1


def test_python_does_not_branch_on_what_an_effect_answers():
    @graphad.jit
    def f(x):
        return x if io_callback(lambda: np.float32(2), F32) > 1 else -x

    with pytest.raises(TracerBoolError, match="an io_callback gives it"):
        f(1.0)
    with pytest.raises(TracerBoolError, match="an io_callback gives it"):
        graphad.jit(lambda x: x if graphad.jit(lambda: io_callback(lambda: np.float32(2), F32))() > 1 else -x)(1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Errors


class OwnError(Exception):
    pass


def failing(x):
    raise OwnError("the sensor is gone")


@each_engine
@each_way
@pytest.mark.parametrize("effect", [False, True])
def test_what_the_function_raises_goes_through(wrap, effect, engine):
    def f(x):
        y = x * 2.0
        return io_callback(failing, like(y), y) if effect else graphad.pure_callback(failing, like(y), y)

    g = wrap(f)
    with graphad.config.override(engine=engine):
        for _ in range(2):
            with pytest.raises(OwnError, match="the sensor is gone") as caught:
                g(gnp.asarray(X))
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert names[-1] == "failing"
            assert "test_what_the_function_raises_goes_through" in names
            (note,) = caught.value.__notes__
            assert note.startswith("in the callback failing that test_callbacks.py:")


def test_after_an_error_the_program_runs_again():
    fails = True

    def host(x):
        if fails:
            raise KeyboardInterrupt
        return x

    f = graphad.jit(lambda x: graphad.pure_callback(host, like(x), x) @ x)
    with pytest.raises(KeyboardInterrupt):
        f(X)
    fails = False
    assert float(f(X)) == pytest.approx(float(X @ X))


@each_way
@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (X.astype(np.float64), r"result 0 of the callback lambda is f64\[3\].*promises f32\[3\].*astype\('float32'\)"),
        (X[:2], r"is f32\[2\], but .* promises f32\[3\]"),
        (2.0, r"is f64\[\], but .* promises f32\[3\]"),
        ((X, X), r"the callback lambda returned .*, but result_shape_dtypes promises"),
        (None, r"the callback lambda returned None"),
    ],
)
def test_results_of_another_type(wrap, returned, message):
    f = wrap(lambda x: graphad.pure_callback(lambda _: returned, like(x), x))
    with pytest.raises(TypeError, match=rf"^test_callbacks\.py:\d+: .*{message}"):
        f(gnp.asarray(X))


def test_wrong_uses():
    with pytest.raises(ValueError, match="no vmap_method 'vectorized'; choose one of 'sequential'"):
        sine(X, "vectorized")
    with pytest.raises(TypeError, match=r"result_shape_dtypes has 3, .*ShapeDtypeStruct"):
        graphad.pure_callback(np.sin, 3, X)
    with pytest.raises(TypeError, match="pure_callback"):
        graphad.pure_callback("sin", F32, X)
    with pytest.raises(TypeError, match="pure_callback"):
        graphad.pure_callback(np.sin, F32, object())


def test_the_text_names_the_function():
    text = str(graphad.make_graph(sine)(gnp.asarray(X)))
    assert "pure_callback[function=@sin, results=(f32[3])] %0" in text


def test_a_nan_from_the_host():
    with graphad.config.override(debug_nans=True):
        with pytest.raises(NonFiniteError, match=r"test_callbacks\.py:\d+: .*pure_callback makes it of 1\.0"):
            graphad.jit(lambda x: 1.0 + graphad.pure_callback(lambda _: np.float32(np.nan), F32, x))(gnp.float32(1.0))
        with pytest.raises(NonFiniteError, match="depends on what an io_callback has answered"):
            graphad.jit(lambda x: x * io_callback(lambda: np.float32(np.nan), F32))(gnp.float32(1.0))


def test_checks_of_derivatives_and_batches_know_callbacks():
    graphad.check_grads(lambda x: bessel(gnp.int32(1), x), (gnp.float64(2.0),), order=2)
    graphad.check_vmap(lambda x: sine(x, "sequential"), (gnp.asarray(X),))
