"""A compiled function as a tree of guarded paths: which are traced, in which order they are tried."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api import paths
from graphad.backends.outcome import GuardFailure
from graphad.errors import PathsWarning, TooManyPathsError
from graphad.ir.types import literal
from tests.compose.tools import close, path_count
from tests.threads import side_by_side


def test_if_and_else_each_once():
    f = graphad.jit(graphad.grad(lambda x: x * x if x > 0 else -x))
    assert [float(f(x)) for x in (1.0, -1.0, 2.0, -2.0, 3.0)] == [2.0, -1.0, 4.0, -1.0, 6.0]
    assert path_count(f) == 2


def test_guards_of_an_inner_gradient_keep_their_order():
    def f(x, w):
        def inner(y):
            if y > 0:
                if positive:
                    return y * w
                return y * y
            return y * 3.0

        positive = w > 0
        return graphad.grad(inner)(x)

    compiled = graphad.jit(f)
    cases = (((1, 1), 1), ((-1, 1), 3), ((1, -1), 2), ((2, 1), 1), ((-1, -1), 3), ((3, -2), 6))
    for (x, w), expected in cases:
        assert float(compiled(float(x), float(w))) == expected
    assert path_count(compiled) == 3


def test_loops_over_values():
    def f(x):
        n = 0
        while x < 100.0:
            x = x * 1.5
            n += 1
        return x, n

    compiled = graphad.jit(f)
    for x in (40.0, 0.5, 99.0, 200.0, 40.0):
        y, n = f(np.float32(x))
        found, count = compiled(x)
        close(found, y)
        assert int(count) == n
    assert path_count(compiled) == 4
    slopes = graphad.jit(graphad.grad(lambda x: f(x)[0]))
    close(slopes(40.0), 1.5**3)
    close(slopes(0.5), 1.5**14, 1e-4)


def test_newton_by_its_own_gradient_and_its_gradient():
    def root(a):
        x = a * 1.0
        f = lambda x: x * x - a
        while abs(f(x)) > 1e-5:
            x = x - f(x) / graphad.grad(f)(x)
        return x

    expected = lambda a: 0.5 / np.sqrt(a)
    close(graphad.grad(root)(2.0), np.float32(expected(2.0)), 1e-3)
    compiled = graphad.jit(graphad.grad(root))
    for a in (2.0, 9.0, 2.5):
        close(compiled(a), np.float32(expected(a)), 1e-3)


def test_recursion_and_early_return():
    def power(x, n):
        if n == 0:
            return 1.0
        half = power(x, n // 2)
        return half * half * x if n % 2 else half * half

    gradient = graphad.grad(power)
    close(gradient(2.0, np.int32(5)), np.float32(80.0))
    compiled = graphad.jit(gradient)
    for n in (5, 3, 1, 5):
        close(compiled(2.0, np.int32(n)), np.float32(n * 2.0 ** (n - 1)))
    assert path_count(compiled) == 3


def test_int_as_a_number_of_turns():
    def f(x, n):
        for _ in range(int(n)):
            x = x * x
        return x

    compiled = graphad.jit(graphad.grad(f))
    close(compiled(1.1, np.int32(2)), np.float32(4 * 1.1**3))
    close(compiled(1.1, np.int32(3)), np.float32(8 * 1.1**7))
    assert path_count(compiled) == 2


def test_index_as_a_number_of_turns_and_as_a_slice():
    @graphad.jit
    def f(x, n):
        total = x * 0.0
        for k in range(n):
            total = total + x * k
        return total[: int(n)].sum()

    for n in (2, 3, 2):
        assert float(f(np.ones(4, np.float32), n)) == n * sum(range(n))
    assert path_count(f) == 2


def test_a_path_may_be_out_of_range_for_other_arguments():
    f = graphad.jit(lambda x, n: x[: int(n)].sum() if int(n) <= 4 else x[:4].sum() * 100)
    x = np.ones(4, np.float32)
    assert [float(f(x, n)) for n in (4, 2, 9, 4)] == [4.0, 2.0, 400.0, 4.0]


def test_truth_and_number_of_one_value_are_two_guards():
    @graphad.jit
    def f(n):
        if n:
            return n * 10 * int(n)
        return n

    assert [int(f(np.int32(n))) for n in (1, 2, 0, 1)] == [10, 40, 0, 10]


def test_nan_takes_the_else_branch():
    f = graphad.jit(lambda x: x * 2.0 if x > 0 else x * 3.0)
    assert float(f(1.0)) == 2.0
    assert gnp.isnan(f(float("nan")))
    assert path_count(f) == 2


def test_nan_decides_ne():
    f = graphad.jit(lambda x: 1.0 if x != x else 2.0)
    assert [float(f(x)) for x in (float("nan"), 0.0, float("nan"))] == [1.0, 2.0, 1.0]


def test_branch_on_what_is_a_constant_of_the_trace():
    def f(x):
        slope = graphad.grad(lambda y: y * 3.0)(x)
        return slope * x if slope > 2.0 else x

    compiled = graphad.jit(f)
    assert [float(compiled(x)) for x in (1.0, -2.0)] == [3.0, -6.0]
    assert path_count(compiled) == 1


def test_branch_on_what_simplifies_to_a_constant():
    @graphad.jit
    def f(n, x):
        masked = n & 0
        if masked > 0:
            return x
        if x > 0:
            return x * 2.0
        return x * 3.0

    assert [float(f(np.int32(7), x)) for x in (1.0, -1.0, 2.0)] == [2.0, -3.0, 4.0]


def test_branch_in_terms_of_a_captured_array():
    limit = graphad.numpy.array(1.5)
    f = graphad.jit(lambda x: x * 2.0 if x > limit else x)
    assert [float(f(x)) for x in (1.0, 2.0, 1.0)] == [1.0, 4.0, 1.0]


def test_branch_on_a_captured_number_alone_is_no_guard():
    flag = gnp.array(1.0)
    f = graphad.jit(lambda x: x * 2.0 if flag > 0 else x)
    assert float(f(1.0)) == 2.0
    assert path_count(f) == 1
    assert "guard" not in str(f.graph(1.0))


def _lie(monkeypatch, lies):
    """Make the programs of some paths see the other outcome of their first guard, as other rounding would."""
    run = paths.Path.run

    def contrary(self, arrays, answers=()):
        expected = self.expected[0][0]
        return (
            GuardFailure(0, literal(not expected.item(), expected.dtype), answers)
            if lies(expected.item())
            else run(self, arrays, answers)
        )

    monkeypatch.setattr(paths.Path, "run", contrary)


def test_compiled_code_decides_where_it_rounds_differently_from_the_reference(monkeypatch):
    f = graphad.jit(lambda x, y: x * 2.0 if gnp.exp(x) > y else x * 3.0)
    assert float(f(1.0, 2.0)) == 2.0
    _lie(monkeypatch, lambda expected: not expected)
    # The examples say exp(1) <= 3, no program agrees: the path is traced again with the observation forced.
    assert path_count(f) == 1
    for _ in range(3):
        assert float(f(1.0, 2.5)) == 2.0


def test_programs_that_contradict_each_other_end_in_one_of_the_branches(monkeypatch):
    f = graphad.jit(lambda x: x * 2.0 if gnp.exp(x) > 3.0 else x * 3.0)
    _lie(monkeypatch, lambda expected: True)
    for _ in range(3):
        assert float(f(1.0)) in (2.0, 3.0)
    assert path_count(f) == 2


def test_paths_are_found_again_without_tracing():
    calls = []

    @graphad.jit
    def f(x):
        calls.append(1)
        n = 0
        while x < 10.0:
            x = x * 2.0
            n += 1
        return n

    with graphad.config.override(warn_paths=63):
        numbers = [9.0, 5.0, 2.5, 1.25, 0.7, 0.3]
        for x in numbers:
            f(x)
        traced = len(calls)
        for x in np.random.default_rng(0).permutation(numbers):
            assert int(f(float(x))) == next(n for n in range(9) if np.float32(x) * 2**n >= 10)
        assert len(calls) == traced == path_count(f)


def test_many_paths_warn_once_and_then_are_refused():
    f = graphad.jit(lambda n: int(n))
    with graphad.config.override(warn_paths=3, max_paths=5):
        for n in range(3):
            f(np.int32(n))
        with pytest.warns(PathsWarning, match=r"test_jit_paths.py:\d+: lambda .* 3 paths .*where"):
            f(np.int32(3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            f(np.int32(4))
            assert [int(f(np.int32(n))) for n in (0, 3, 4, 1)] == [0, 3, 4, 1]
        with pytest.raises(TooManyPathsError, match="max_paths = 5"):
            f(np.int32(5))
        assert int(f(np.int32(2))) == 2  # the paths that exist go on working
    assert path_count(f) == 5


def test_an_error_in_one_branch_leaves_the_others_usable():
    @graphad.jit
    def f(x):
        if x > 0:
            return x * 2.0
        raise KeyError("negative")

    assert float(f(1.0)) == 2.0
    with pytest.raises(KeyError, match="negative"):
        f(-1.0)
    assert float(f(3.0)) == 6.0


def test_signatures_have_their_own_paths():
    traced = []
    f = graphad.jit(lambda x: traced.append(x.dtype) or x * 2)
    for x in (1.0, 2.0, 1, np.float32(1), np.float64(1), np.ones(3), gnp.ones(3), np.ones(3, np.float32), True):
        f(x)
    assert [d.name for d in traced] == ["float32", "int32", "float32", "float64", "float64", "float32", "bool"]


def test_configuration_is_part_of_the_signature():
    f = graphad.jit(lambda: gnp.arange(3) * 1.5)
    assert f().dtype == np.float32
    with graphad.config.override(default_dtype_bits=64):
        assert f().dtype == np.float64
    assert f().dtype == np.float32


def test_static_arguments():
    calls = []

    @graphad.jit
    def dynamic(x, n):
        return x * n

    def scale(x, n, negate=False):
        calls.append((n, negate))
        assert type(n) is int
        return -x * n if negate else x * n

    f = graphad.jit(scale, static_argnums=1, static_argnames="negate")
    assert [float(f(2.0, 3)), float(f(3.0, 3)), float(f(2.0, n=4)), float(f(2.0, 3, negate=True))] == [6, 9, 8, -6]
    assert len(calls) == 3
    assert float(dynamic(2.0, 3)) == 6.0


def test_static_values_that_are_equal_but_not_the_same():
    f = graphad.jit(
        lambda x, k: x * 1 if isinstance(k, bool) else x * 2 if isinstance(k, int) else x * 3, static_argnums=1
    )
    assert [float(f(1.0, k)) for k in (1, True, 1.0)] == [2.0, 1.0, 3.0]


def test_branches_under_disable_jit():
    f = graphad.jit(lambda x: x * 2.0 if x > 0 else x * 3.0)
    with graphad.config.override(disable_jit=True):
        assert [float(f(x)) for x in (1.0, -1.0)] == [2.0, -3.0]
        assert float(graphad.grad(f)(-1.0)) == 3.0
    assert path_count(f) == 0


def test_threads_trace_and_run_side_by_side():
    f = graphad.jit(graphad.grad(lambda x: x * x if x > 0 else x * 3.0))
    wrong = []

    def work(seed):
        for x in np.random.default_rng(seed).normal(size=40):
            expected = 2 * np.float32(x) if x > 0 else 3.0
            if abs(float(f(float(x))) - expected) > 1e-5:
                wrong.append(x)

    side_by_side(work)
    assert not wrong
