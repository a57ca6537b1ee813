"""`graphad inspect` on graphs: differences of stages, pipelines, graphs in files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.cli import main
from graphad.errors import ParseError
from graphad.inspection import (
    GRAPH_STAGES,
    GraphFunction,
    TargetError,
    diff_text,
    load_function,
    parse_arguments,
    stage_graph,
)
from graphad.inspection.diff import diff_graphs
from graphad.ir.text import format_graph, parse_graph

ROOT = Path(__file__).parents[3]
LOSS = f"{ROOT / 'examples' / 'mlp.py'}:loss"
ARGS = ["--args", "f32[64],f32[8,64]"]


@pytest.fixture
def inspect(capsys):
    """Run the command line in this process; its status and what it wrote."""

    def run(*argv):
        status = main(["inspect", *map(str, argv)])
        out, err = capsys.readouterr()
        assert (status == 0) == (err == "")
        return out or err

    return run


def make(fun, *args):
    return graphad.make_graph(fun)(*args)


# ---------------------------------------------------------------------------------------------------------------------
# Differences


def test_equations_are_paired_by_kind():
    """An equation in front shifts every number, and what reads the new value is changed, but no more than that."""
    v = np.ones(3, np.float32)

    def f(x, inner):
        y = gnp.exp(inner(x))
        z = gnp.tanh(y)
        return z * y

    text = diff_graphs(make(lambda x: f(x, gnp.positive), v), make(lambda x: f(x, gnp.sin), v), ("a", "b"))
    lines = [re.sub(r" +;.*", "", line) for line in text.splitlines()]
    assert lines[:2] == ["--- a", "+++ b"]
    assert [line for line in lines[2:] if line[0] in "+-"] == [
        "+  %1: f32[3] = sin %0",
        "-  %2: f32[3] = exp %0",
        "+  %2: f32[3] = exp %1",
    ]
    unchanged = [line for line in lines if line.startswith("   %")]
    assert [line.split()[3] for line in unchanged] == ["tanh", "mul"]


def test_values_that_are_gone_have_names_of_their_own():
    before, after = [parse_graph(f"graph @f(%0: f32[]) -> (f32[]) {{\n{body}\n}}") for body in (
        "  %1: f32[] = sin %0\n  %2: f32[] = cos %1\n  return %2",
        "  %1: f32[] = tan %0\n  return %1",
    )]  # fmt: skip
    assert diff_graphs(before, after, ("a", "b")).splitlines()[2:] == [
        " graph @f(%0: f32[]) -> (f32[]) {",
        "-  %1': f32[] = sin %0",
        "-  %2': f32[] = cos %1'",
        "+  %1: f32[] = tan %0",
        "-  return %2'",
        "+  return %1",
        " }",
    ]


def test_the_second_graph_can_be_read_off_the_difference():
    """Lines that are unchanged or new are those of the graph itself, in order."""
    fun, args = load_function(LOSS), parse_arguments(ARGS[1])
    for first in ("traced", "simplified", "batched"):
        text = diff_text(fun, args, (first, "adjoint"))
        kept = [line[1:] for line in text.splitlines()[2:] if line[0] in " +"]
        assert parse_graph("\n".join(kept)) == stage_graph(fun, args, "adjoint")


def test_regions_are_part_of_their_equation():
    f, g = graphad.jit(lambda x: gnp.sin(x) + 1), graphad.jit(lambda x: gnp.sin(x) + 2)
    before, same, other = [make(lambda x: h(x) * k, 1.0) for h, k in ((f, 2), (f, 3), (g, 2))]
    assert [line.split(" ;")[0].rstrip() for line in changes(before, same)] == [
        "-  %2: f32[] = mul %1, 2.0:f32",
        "+  %2: f32[] = mul %1, 3.0:f32",
    ]
    kinds = ["jit[", "graph @", " sin ", " add ", "return", "}", "}"]
    for mark in "-+":
        lines = [line for line in changes(before, other) if line[0] == mark]
        assert all(kind in line for kind, line in zip(kinds, lines, strict=False))


def changes(before, after):
    return [line for line in diff_graphs(before, after, ("a", "b")).splitlines()[2:] if line[0] in "+-"]


def test_strings_are_left_alone():
    f = lambda x: graphad.debug.print("%1 is {}", gnp.sin(x))
    before, after = make(f, 1.0), make(lambda x: f(gnp.cos(x)), 1.0)
    assert "\n   debug_print[fmt='%1 is {0}', batch_axes=0] %2 " in diff_graphs(before, after, ("a", "b"))


def test_equal_stages_differ_in_nothing():
    fun, args = load_function(LOSS), parse_arguments(ARGS[1])
    assert re.fullmatch(
        r"--- adjoint\n\+\+\+ adjoint\n@@ \d+ unchanged lines @@", diff_text(fun, args, ("adjoint",) * 2)
    )
    assert diff_text(fun, args, ("loops", "loops")) == "--- loops\n+++ loops"


def test_long_stretches_are_folded():
    def f(x, last):
        for _ in range(20):
            x = gnp.sin(x)
        return last(x)

    text = diff_graphs(make(lambda x: f(x, gnp.exp), 1.0), make(lambda x: f(x, gnp.cos), 1.0), ("a", "b"))
    assert "@@ 18 unchanged lines @@" in text
    assert text.count(" = sin ") == 3


def test_diff_on_the_command_line(inspect, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = inspect(LOSS, *ARGS, "--diff", "traced", "simplified")
    assert re.search(r"^-  %7': f32\[\]\s+= div %6, 8\.0:f32", text, re.MULTILINE)
    assert re.search(r"^\+  %7: f32\[\]\s+= mul %6, 0\.125:f32", text, re.MULTILINE)
    coloured = inspect(LOSS, *ARGS, "--diff", "traced", "simplified", "--color", "always")
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == text
    programs = inspect(LOSS, *ARGS, "--diff", "loops", "source")
    assert programs.startswith("--- loops\n+++ source\n@@ ")


def test_one_stage_or_two(capsys):
    with pytest.raises(SystemExit):
        main(["inspect", LOSS, *ARGS, "--stage", "adjoint", "--diff", "traced", "adjoint"])
    assert "--diff: not allowed with argument --stage" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# Pipelines


def test_the_graph_after_a_pass(inspect):
    inlined = inspect(LOSS, *ARGS, "--stage", "adjoint", "--after", "inline")
    assert " div %8, 8.0:f32" in inlined
    assert inlined == inspect(LOSS, *ARGS, "--stage", "adjoint", "--pipeline", "inline{custom=True}")
    assert inspect(LOSS, *ARGS, "--after", "simplify") == inspect(LOSS, *ARGS)
    untouched = inspect(LOSS, *ARGS, "--pipeline", "")
    assert untouched == inspect(LOSS, *ARGS, "--stage", "traced")


def test_the_options_of_a_pipeline(tmp_path, inspect):
    path = tmp_path / "zero.graph"
    path.write_text("graph @f(%0: f32[3]) -> (f32[3]) {\n  %1: f32[3] = add %0, 0.0:f32\n  return %1\n}\n")
    assert " add " in inspect(path)
    assert " add " not in inspect(path, "--pipeline", "simplify{fast_math=True}")


def test_diff_of_pipelines(inspect):
    text = inspect(LOSS, *ARGS, "--diff", "traced", "adjoint", "--after", "inline")
    assert " div %8, 8.0:f32" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--after", "fuse"], "there is no pass fuse in the pipeline 'reroll,inline{custom=True},unroll_matrices"),
        (["--pipeline", "inlin"], "there is no pass inlin. Did you mean 'inline'"),
        (["--pipeline", "inline,,"], "pipeline, column 8"),
        (["--stage", "loops", "--after", "inline"], "loops is made of a graph after all passes"),
        (["--diff", "loops", "asm", "--pipeline", "inline"], "loops is made of a graph after all passes"),
    ],
)
def test_wrong_pipelines_take_one_line(options, message, inspect):
    said = inspect(LOSS, *ARGS, *options)
    assert said.count("\n") == 1
    assert message in said


# ---------------------------------------------------------------------------------------------------------------------
# Graphs in files


@pytest.fixture
def dumped(tmp_path, inspect):
    """A file with the traced loss."""
    path = tmp_path / "loss.graph"
    path.write_text(inspect(LOSS, *ARGS, "--stage", "traced"))
    return path


@pytest.mark.parametrize("stage", GRAPH_STAGES)
def test_stages_of_a_file_are_those_of_the_function(stage, dumped, inspect):
    assert parse_graph(inspect(dumped, "--stage", stage)) == parse_graph(inspect(LOSS, *ARGS, "--stage", stage))


@pytest.mark.parametrize("stage", ["loops", "source", "llvm", "asm"])
def test_programs_of_a_file(stage, dumped, inspect):
    text = inspect(dumped, "--stage", stage)
    assert "loss" in text
    if stage in ("loops", "source"):
        assert "mlp.py:" in text


def test_the_traced_graph_is_the_file(dumped, inspect):
    assert inspect(dumped, "--stage", "traced") == dumped.read_text()


def test_a_graph_is_a_function(rng):
    graph = make(lambda x, y: (gnp.sin(x) @ y, x.sum()), np.ones(3), np.ones((3, 2)))
    f = GraphFunction(parse_graph(format_graph(graph)))
    x, y = rng.normal(size=3), rng.normal(size=(3, 2))
    np.testing.assert_allclose(f(x, y)[0], np.sin(x) @ y)
    np.testing.assert_allclose(graphad.grad(lambda x: f(x, y)[1])(x), np.ones(3))
    np.testing.assert_allclose(graphad.jacobian(lambda y: f(x, y)[0])(y)[0, :, 0], np.sin(x))
    with pytest.raises(TypeError, match="takes 2 arguments, not 1"):
        f(x)


def test_files_that_are_no_graphs(tmp_path, inspect):
    with pytest.raises(TargetError, match=r"there is no file nothere\.graph"):
        load_function("nothere.graph")
    path = tmp_path / "broken.graph"
    path.write_text("graph @f(%0: f32[3]) -> (f32[3]) {\n  %1: f32[3] = sinn %0\n")
    with pytest.raises(ParseError, match="line 2"):
        load_function(str(path))
    assert "Did you mean" in inspect(path)
    path.write_text("graph @f(%0: f32[3]) -> (f32[3]) {\n  %1: f32[4] = sin %0\n  return %1\n}")
    assert "VerifyError" in inspect(path) or "f32[3]" in inspect(path)
