"""Calls of the host from compiled programs: the mode of the CPU, threads, the cache, and what is shown of them."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled
from graphad.backends.artifact import Artifact
from graphad.backends.llvm.library import host
from graphad.experimental import io_callback

X = np.arange(4, dtype=np.float32)
TINY = np.float32(1e-40)


def like(x):
    return graphad.ShapeDtypeStruct(x.shape, x.dtype)


def graph_of(f, *args):
    return graphad.make_graph(f)(*args)


@pytest.mark.skipif(not host().x86, reason="denormals are flushed by the mode of x86")
def test_denormals_are_numbers_in_the_callback_and_zeros_around_it():
    found = []

    def halved(x):
        found.append(x / np.float32(2))
        return found[-1]

    @graphad.jit
    def f(x):
        before = x * 3.0
        inside = graphad.pure_callback(halved, like(x), x)
        return before, inside, inside * 0.5

    with graphad.config.override(flush_denormals=True):
        before, inside, after = f(gnp.full(9, TINY))
    assert float(before[0]) == 0.0
    assert found[0][0] > 0
    assert np.asarray(inside)[0] == found[0][0]
    assert float(after[0]) == 0.0
    assert np.float32(1e-40) / np.float32(2) > 0  # and the mode is that of before


def test_threads_run_callbacks_at_once():
    """Each waits in its callback for the other: a program that kept the GIL, or a lock, would not come back."""
    meeting = threading.Barrier(2, timeout=20)

    @graphad.jit
    def f(x):
        y = graphad.pure_callback(lambda x: (meeting.wait(), x + 1)[1], like(x), x * 2.0)
        return y - 1.0

    results = {}
    workers = [threading.Thread(target=lambda k=k: results.setdefault(k, f(X + k))) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    for k in range(2):
        np.testing.assert_array_equal(results[k], 2 * (X + k))


def test_errors_stay_in_their_thread():
    meeting = threading.Barrier(2, timeout=20)

    def host(x):
        meeting.wait()
        if x[0] > 0:
            raise LookupError("only here")
        return x

    f = graphad.jit(lambda x: graphad.pure_callback(host, like(x), x) + 1.0)
    outcomes = {}

    def run(k):
        try:
            outcomes[k] = np.asarray(f(X + k))
        except LookupError as error:
            outcomes[k] = error

    workers = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    np.testing.assert_array_equal(outcomes[0], X + 1)
    assert isinstance(outcomes[1], LookupError)


def test_equal_code_calls_each_its_own_function():
    """The machine code is one, by its text; the functions are those of the graphs."""
    for factor in (2.0, 3.0, 4.0):
        f = graphad.jit(lambda x, factor=factor: graphad.pure_callback(lambda x: x * np.float32(factor), like(x), x))
        np.testing.assert_array_equal(f(X), X * factor)


_SCRIPT = """
import sys, numpy as np, graphad
from graphad.backends.llvm import native

factor = np.float32(sys.argv[1])
made = []
compile_object = native.compile_object
native.compile_object = lambda *args, **options: (made.append(1), compile_object(*args, **options))[1]
f = graphad.jit(lambda x: graphad.pure_callback(lambda x: x * factor, graphad.ShapeDtypeStruct((3,), "float32"), x) @ x)
print(float(f(np.ones(3, np.float32))), len(made))
"""


def test_another_process_finds_the_code_and_binds_its_own_function(tmp_path):
    env = {**os.environ, "GRAPHAD_CACHE": str(tmp_path)}

    def run(factor):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(factor)], capture_output=True, text=True, env=env, check=True
        )
        return done.stdout.split()

    value, made = run(2.0)
    assert float(value) == 6.0
    assert int(made) > 0
    assert run(5.0) == ["15.0", "0"]


def test_the_artifact_has_types_and_no_functions():
    artifact = compiled(graph_of(lambda x: io_callback(np.sin, like(x), x), X)).artifact
    assert artifact.callbacks == ("(f32[4]) -> (f32[4])",)
    assert b"sin" not in artifact.to_bytes().partition(b"\n")[0]
    assert Artifact.from_bytes(artifact.to_bytes()) == artifact


def test_the_source_is_run_alone():
    def f(x):
        y = graphad.pure_callback(np.cumsum, like(x), x * 2.0)
        return gnp.sum(y * x)

    source = graphad.jit(f).kernel_source(X)
    namespace = {}
    exec(source, namespace)
    out = np.zeros(1, np.float32)
    assert namespace["f"](X, out, [lambda x: [np.cumsum(x)]]) == 0
    assert out[0] == np.sum(np.cumsum(2 * X) * X)
    assert "functions[0]: cumsum, of flat arrays" in source
    assert "test_host_calls.py" in source


def test_the_explanation_names_the_callback():
    explanation = graphad.jit(lambda x: graphad.pure_callback(np.sin, like(x), x) + 1.0).explain(X)
    (step,) = [s for s in explanation.steps if s.kind == "callback"]
    assert step.name == "sin"
    assert (step.read_bytes, step.written_bytes) == (16, 16)
    assert step.lines[0].startswith("test_host_calls.py:")


def test_the_host_runs_with_the_threads_of_blas():
    """Which are limited around small products."""

    def f(a):
        return graphad.pure_callback(np.sin, like(a), a @ a) @ a

    a = np.eye(96, dtype=np.float32)
    text = compiled(graph_of(f, a)).llvm
    names = ("%blas_one_thread", "%blas_own_threads", "%sgemm", "%host_call")
    calls = [line.split("(")[0].split()[-1] for line in text.splitlines() if " call " in line]
    assert [name for name in calls if name in names] == [
        "%blas_one_thread", "%sgemm", "%blas_own_threads", "%host_call",
        "%blas_one_thread", "%sgemm", "%blas_own_threads",
    ]  # fmt: skip
    np.testing.assert_allclose(graphad.jit(f)(a), np.sin(a), rtol=1e-6)


@pytest.mark.parametrize("engine", ["llvm", "numba"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_function_goes_with_the_compiled_one(engine, fails):
    """Neither the code in memory nor an error keeps what the callback holds."""

    class Large:
        pass

    def made():
        large = Large()

        def host(x):
            if fails:
                raise LookupError(repr(large))
            return x + len(repr(large)) * 0

        f = graphad.jit(lambda x: graphad.pure_callback(host, like(x), x))
        with graphad.config.override(engine=engine), contextlib.suppress(LookupError):
            f(X)
        return weakref.ref(large)

    found = made()
    gc.collect()
    assert found() is None
