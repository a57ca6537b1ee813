"""The user's line: in equations, errors and compiled source."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.ir.loc import format_loc, source_of
from graphad.trace import tracer
from graphad.trace.source import quoted, user_loc, where


def lines_of(graph):
    return [format_loc(loc) for loc in graph.locs]


def test_where_is_the_line_that_calls():
    assert where() == f"test_source.py:{test_where_is_the_line_that_calls.__code__.co_firstlineno + 1}: "
    assert 'quoted() == "' in quoted()
    path, line = source_of(user_loc())
    assert path == __file__
    assert line == test_where_is_the_line_that_calls.__code__.co_firstlineno + 3


def test_code_in_a_copy_of_our_names_is_the_users():
    """As doctests run it."""
    names = dict(vars(tracer))
    exec(compile("def f(x):\n    return x * 2.0", "cell.py", "exec"), names)
    assert {*lines_of(graphad.make_graph(names["f"])(1.0))} == {"cell.py:2"}


def test_an_audit_hook_is_told_of_few_frames():
    code = """
        import sys
        import numpy as np
        import graphad

        def f(x):
            for _ in range(2):
                told.clear()
                for _ in range(100):
                    x = x[::-1]
            print(told.count("sys._getframe"), told.count("object.__getattr__"))
            return x

        told = []
        sys.addaudithook(lambda event, args: told.append(event))
        graphad.make_graph(f)(np.ones(4))
        """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["100", "100"], "the frame that asks, and the code of the user's"


def test_each_equation_has_its_line():
    def f(x):
        y = gnp.sin(x)
        z = y * 2.0

        return (
            z +
            y
        )  # fmt: skip

    first = f.__code__.co_firstlineno
    graph = graphad.make_graph(f)(1.0)
    assert lines_of(graph) == [f"test_source.py:{first + n}" for n in (1, 2, 5)]


def helper(x):
    return gnp.exp(x)


def test_the_innermost_line_of_the_user_counts():
    graph = graphad.make_graph(functools.partial(helper))(1.0)
    assert lines_of(graph) == [f"test_source.py:{helper.__code__.co_firstlineno + 1}"]


def test_lines_of_functions_that_call_others_of_ours():
    graph = graphad.make_graph(lambda x: graphad.nn.softmax(x).sum())(np.ones(3))
    line = lines_of(graph)[0]
    assert line.startswith("test_source.py:")
    assert set(lines_of(graph)) == {line}


def test_lines_of_numpys_own_functions_are_skipped():
    graph = graphad.make_graph(lambda x: np.sum(x))(np.ones(3))
    assert all(line.startswith("test_source.py:") for line in lines_of(graph))


def test_transforms_wrap_the_line():
    def f(x):
        return gnp.sin(x) * x

    line = f"test_source.py:{f.__code__.co_firstlineno + 1}"
    lines = lines_of(graphad.make_graph(graphad.grad(f))(1.0))
    assert line in lines
    assert f"jvp({line})" in lines
    assert f"transpose(jvp({line}))" in lines
    lines = lines_of(graphad.make_graph(graphad.vmap(f))(np.ones(3)))
    assert set(lines) == {f"batch({line})"}


def test_equal_graphs_keep_their_own_lines():
    def f(x):
        return gnp.sin(x) * 2.0

    def g(x):
        return gnp.sin(x) * 2.0

    first, second = (graphad.make_graph(h)(1.0) for h in (f, g))
    assert first == second
    assert hash(first) == hash(second)
    assert lines_of(first) != lines_of(second)
    sources = [graphad.jit(h).kernel_source(1.0) for h in (f, g)]
    assert f"# test_source.py:{f.__code__.co_firstlineno + 1}" in sources[0]
    assert f"# test_source.py:{g.__code__.co_firstlineno + 1}" in sources[1]


def test_code_without_a_file():
    scope = {"gnp": gnp}
    exec("def f(x):\n    return gnp.sin(x)\n", scope)
    graph = graphad.make_graph(scope["f"])(1.0)
    assert lines_of(graph) == ["<string>:2"]
