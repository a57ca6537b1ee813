"""Tracebacks end at the user's line: for errors of every public function, however they are shown."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from types import SimpleNamespace

import numpy as np
import pytest

import graphad
import graphad.lax as lax
import graphad.nn as nn
import graphad.numpy as gnp
from graphad import optim
from graphad.config import config
from graphad.trace import tracebacks
from graphad.trace.tracebacks import boundary, hide_frames
from graphad.train import fit, make_step

X = np.float32([1.0, 2.0])


def files(error):
    """The files of the frames of an error, and of all errors that would be shown with it."""
    shown = traceback.TracebackException.from_exception(error)
    found = []
    while shown is not None:
        found.append([frame.filename for frame in shown.stack])
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return found


def caught(call):
    with pytest.raises(Exception) as info:
        call()
    return info.value


def assert_hidden(error):
    for n, names in enumerate(files(error)):
        assert set(names) <= {__file__}
        assert names or n, "the error itself has the user's line"


# --- what leaves a transformation has none of our frames in it, whoever looks


def branches(x):
    return x.sum() * float(x.sum())


def fails(x):
    return [][0]


def chained(x):
    try:
        return float(x.sum())
    except TypeError as error:
        raise ValueError("mine") from error


def mismatched(x):
    return (gnp.ones(3) + gnp.ones(2)).sum() * x.sum()


custom = graphad.custom_jvp(lambda x: x.sum())
custom.defjvp(lambda primals, tangents: branches(*primals))
one_way = graphad.custom_vjp(lambda x: x.sum())
one_way.defvjp(lambda x: (branches(x), None), lambda _, ct: (ct,))

TRANSFORMATIONS = {
    "grad": lambda f: graphad.grad(f)(X),
    "value_and_grad": lambda f: graphad.value_and_grad(f)(X),
    "jit": lambda f: graphad.jit(f)(X),
    "donating jit": lambda f: graphad.jit(f, donate_argnums=0)(gnp.array(X)),
    "jit of grad": lambda f: graphad.jit(graphad.grad(f))(X),
    "grad of jit": lambda f: graphad.grad(graphad.jit(f))(X),
    "vmap": lambda f: graphad.vmap(f)(X[None]),
    "vmap of grad of jit": lambda f: graphad.vmap(graphad.grad(graphad.jit(f)))(X[None]),
    "compile_grad": lambda f: graphad.compile_grad(f)(X),
    "graph": lambda f: graphad.jit(f).graph(X),
    "trace": lambda f: graphad.jit(f).trace(X),
    "kernel_source": lambda f: graphad.jit(f).kernel_source(X),
    "explain": lambda f: graphad.jit(f).explain(X),
    "adjoint": lambda f: graphad.compile_grad(f).adjoint(X),
    "gradient's graph": lambda f: graphad.compile_grad(f).graph(X),
    "gradient's source": lambda f: graphad.compile_grad(f).kernel_source(X),
    "gradient's explanation": lambda f: graphad.compile_grad(f).explain(X),
    "jvp": lambda f: graphad.jvp(f, (X,), (X,)),
    "vjp": lambda f: graphad.vjp(f, X),
    "linearize": lambda f: graphad.linearize(f, X),
    "linear_transpose": lambda f: graphad.linear_transpose(f, X)(np.float32(1)),
    "jacfwd": lambda f: graphad.jacfwd(f)(X),
    "jacrev": lambda f: graphad.jacrev(f)(X),
    "jacobian": lambda f: graphad.jacobian(f)(X),
    "hessian": lambda f: graphad.hessian(f)(X),
    "hvp": lambda f: graphad.hvp(f, (X,), (X,)),
    "eval_shape": lambda f: graphad.eval_shape(f, X),
    "make_graph": lambda f: graphad.make_graph(f)(X),
    "checkpoint": lambda f: graphad.grad(graphad.checkpoint(f))(X),
    "check_grads": lambda f: graphad.check_grads(f, (X,), order=1),
    "fit": lambda f: fit(lambda p, x: f(p), X, X, optim.sgd(0.1), progress=False),
    "make_step": lambda f: (step := make_step(lambda p, x: f(p), optim.sgd(0.1)))(step.init(X), X),
}
FAILURES = {"branches": branches, "fails": fails, "chained": chained, "mismatched": mismatched}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_errors_in_the_function_end_at_its_line(name, failure):
    error = caught(lambda: TRANSFORMATIONS[name](FAILURES[failure]))
    assert_hidden(error)
    assert files(error)[0][-1] == __file__


def transformations():
    """Every public function that takes another one."""
    for name in dir(graphad):
        function = getattr(graphad, name)
        if inspect.isfunction(function) and next(iter(inspect.signature(function).parameters), "") in ("fun", "f"):
            yield name


@pytest.mark.parametrize("name", list(transformations()))
def test_wrong_uses_end_at_the_call(name):
    function = getattr(graphad, name)
    parameters = inspect.signature(function).parameters.values()
    required = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    assert_hidden(caught(lambda: function(*[3] * max(required, 1))))


def test_all_transformations_are_met():
    assert {*transformations()} >= {
        "grad",
        "value_and_grad",
        "vmap",
        "jit",
        "compile_grad",
        "jvp",
        "vjp",
        "check_grads",
    }


CALLS = {
    "integers": lambda: graphad.grad(lambda x: x)(3),
    "not scalar": lambda: graphad.grad(lambda x: x)(X),
    "argnums": lambda: graphad.grad(lambda x: x, argnums=4)(1.0),
    "axes": lambda: graphad.vmap(lambda x: x, in_axes=(0, 1))(X),
    "structure": lambda: graphad.vmap(lambda x: x, in_axes=({"a": 0},))(X),
    "tangents": lambda: graphad.jvp(gnp.sin, (X,), (1.0,)),
    "pullback": lambda: graphad.vjp(gnp.sin, X)[1](1.0),
    "linear map": lambda: graphad.linearize(gnp.sin, X)[1](1.0),
    "transpose": lambda: graphad.linear_transpose(lambda x: 2 * x, X)(1.0),
    "argument": lambda: graphad.jit(lambda x: x)("text"),
    "static": lambda: graphad.jit(lambda x: x, static_argnums=0)([]),
    "rule": lambda: graphad.grad(custom)(X),
    "rule of one way": lambda: graphad.grad(one_way)(X),
    "no rule": lambda: graphad.grad(graphad.custom_vjp(lambda x: x))(1.0),
    "state": lambda: make_step(lambda p, x: p, optim.sgd(0.1)).init({}),
    "epochs": lambda: fit(lambda p, x: p, X, X, optim.sgd(0.1), epochs=0),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_are_refused_end_at_the_call(name):
    assert_hidden(caught(CALLS[name]))


def test_an_interruption_of_a_training_is_shown_where_it_came():
    def stop(training):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as info:
        fit(lambda p, x: p.sum(), X, X, optim.sgd(0.1), callbacks=stop, progress=False)
    assert_hidden(info.value)


def test_a_boundary_shows_what_it_stands_for():
    for function in (graphad.grad, graphad.jvp, fit):
        assert function.__module__.startswith("graphad.")
        assert list(inspect.signature(function).parameters)[:1] in (["fun"], ["loss_or_step"])
    assert list(inspect.signature(graphad.grad(lambda a, b: a)).parameters) == ["a", "b"]


# --- what is not transformed: as it is shown


def functions_of(*modules):
    for module in modules:
        for name in sorted(set(dir(module))):
            function = getattr(module, name)
            if not name.startswith("_") and inspect.isfunction(function):
                yield f"{module.__name__.removeprefix('graphad.')}.{name}", function


def shown_by_python(error, capsys):
    sys.excepthook(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def test_every_function_of_arrays(capsys):
    """Whatever it says of an argument of no use, it says it under the line of the call."""
    met = 0
    for name, function in functions_of(gnp, lax, nn, gnp.linalg):
        required = [
            p for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]  # fmt: skip
        try:
            function(*[object()] * len(required))
        except Exception as error:  # noqa: BLE001 - of every kind
            if tracebacks._is_fault(error):
                continue
            met += 1
            text = shown_by_python(error, capsys)
            lines = [line for line in text.splitlines() if line.startswith('  File "')]
            assert lines, name
            assert all(__file__ in line for line in lines), f"{name}:\n{text}"
    assert met > 300


def test_operators_and_methods(capsys):
    x = gnp.array(X)
    for call in (
        lambda: x + gnp.ones(3),
        lambda: x @ gnp.ones(3),
        lambda: x[5],
        lambda: x.reshape(7),
        lambda: x.at[9].set(1),
        lambda: x.nothing,
        lambda: graphad.random.normal(3),
        lambda: optim.sgd(0.1).update(1.0, ()),
        lambda: graphad.tree.map(lambda a: a, 1, {}),
    ):
        error = caught(call)
        text = shown_by_python(error, capsys)
        assert text.count('File "') == text.count(f'File "{__file__}"') > 0
        assert_hidden(error)


def test_errors_in_threads(capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    tracebacks.install()
    thread = threading.Thread(target=lambda: gnp.ones(2) + gnp.ones(3))
    thread.start()
    thread.join()
    text = capsys.readouterr().err
    assert "add got shapes (2,) and (3,)" in text
    assert os.path.dirname(graphad.__file__) not in text


def test_a_hook_that_was_there_is_called(monkeypatch):
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    monkeypatch.setattr(sys, "excepthook", lambda *args: said.append(args))
    tracebacks.install()
    error = caught(lambda: gnp.ones(2) + gnp.ones(3))
    sys.excepthook(type(error), error, error.__traceback__)
    assert said[0] == (TypeError, error, error.__traceback__)
    threading.excepthook(threading.ExceptHookArgs((SystemExit, None, None, None)))
    assert said[1].exc_value is None


def test_ipython_is_asked_if_nobody_else_has(monkeypatch):
    """A shell that calls handlers as IPython does; with its own there first it is left alone."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    shown = []

    class Shell:
        def __init__(self, *exceptions):
            self.custom_exceptions = exceptions

        def set_custom_exc(self, exceptions, handler):
            self.custom_exceptions, self.handler = exceptions, handler

        def showtraceback(self, exc_tuple, tb_offset=None):
            shown.append((exc_tuple, tb_offset))

    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    tracebacks.install()
    error = caught(lambda: gnp.ones(2) + gnp.ones(3))
    shell.handler(shell, type(error), error, error.__traceback__, tb_offset=1)
    (((kind, value, entries), offset),) = shown
    assert (kind, value, offset) == (TypeError, error, 1)
    assert {frame.filename for frame in traceback.extract_tb(entries)} == {__file__}
    other = Shell(KeyError)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: other))
    tracebacks.install()
    assert other.custom_exceptions == (KeyError,)


def test_pytest_shows_the_user_s_lines(tmp_path):
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import graphad, graphad.numpy as gnp
        from graphad.config import config

        def test_eager():
            gnp.dot(gnp.ones(2), gnp.ones(3))

        def test_traced():
            graphad.jit(lambda x: float(gnp.sin(x)))(1.0)

        def test_the_switch():
            config.update("hide_frames", False)
            gnp.dot(gnp.ones(2), gnp.ones(3))
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path).stdout
    eager, rest = said.split("___ test_traced ___")
    traced, unhidden = rest.split("___ test_the_switch ___")
    assert "test_eager" in eager
    assert "3 failed" in unhidden
    for text, shown in ((eager, False), (traced, False), (unhidden, True)):
        assert ("graphad/" in text.partition("short test summary")[0]) is shown
        assert "test_it.py" in text


# --- what is left, and the switch


def test_the_switch():
    with config.override(hide_frames=False):
        names = files(caught(lambda: graphad.grad(branches)(X)))[0]
    assert any(name.endswith("tracer.py") for name in names)
    assert names[0] == __file__


def test_a_fault_of_ours_keeps_its_frames(monkeypatch):
    for kind in (AssertionError, KeyError):

        def broken(*_, kind=kind):
            raise kind("of ours")

        monkeypatch.setitem(broken.__globals__, "__name__", "graphad.broken")
        try:
            error = caught(lambda: boundary(broken)())
        finally:
            monkeypatch.undo()
        assert [f.name for f in traceback.extract_tb(error.__traceback__)][-2:] == ["call", "broken"]

    def mine(x):
        raise KeyError("of the user's")

    assert_hidden(caught(lambda: graphad.jit(mine)(X)))


def test_what_we_looked_for_and_did_not_find_is_nobody_s_cause():
    ours = {"__name__": "graphad.made_up"}
    exec("def call(f):\n    try:\n        {}['key']\n    except KeyError:\n        return f()", ours)

    def user():
        try:
            raise ValueError("first")
        except ValueError:
            boundary(ours["call"])(lambda: fails(X))

    error = caught(user)
    assert (type(error), type(error.__context__), error.__context__.__context__) == (IndexError, ValueError, None)
    assert_hidden(error)
    assert_hidden(caught(lambda: graphad.grad(custom)(X)))  # whose rule is traced where a table of ours lacks it


def test_groups_and_circles_of_errors():
    inner, outer = caught(lambda: gnp.ones(2) + gnp.ones(3)), caught(lambda: gnp.ones(2)[7])
    inner.__cause__, outer.__cause__ = outer, inner
    hide_frames(ExceptionGroup("both", [inner, outer]))
    for error in (inner, outer):
        assert {f.filename for f in traceback.extract_tb(error.__traceback__)} == {__file__}


def test_an_error_of_ours_alone_is_shown_whole(capsys):
    from graphad.inspection.target import load_function

    error = caught(lambda: load_function("no_such_module:f"))
    entries = [e for e in tracebacks._entries(error.__traceback__) if tracebacks._package(e.tb_frame) == "graphad"]
    error.__traceback__ = entries[0]
    assert "load_function" in shown_by_python(error, capsys)
