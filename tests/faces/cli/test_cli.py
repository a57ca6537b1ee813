"""`graphad inspect`: its stages, the text of arguments, and one line for every wrong input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import inspection
from graphad.cli import main
from graphad.errors import ParseError
from graphad.inspection import Static, format_arguments, parse_arguments
from graphad.inspection.colors import colored
from graphad.ir.graph import Graph
from graphad.ir.text import format_graph, parse_graph
from graphad.ir.types import f32

ROOT = Path(__file__).parents[3]
LOSS = f"{ROOT / 'examples' / 'mlp.py'}:loss"
LOSS_ARGS = "f32[64],f32[8,64]"

MODEL = """
import graphad
import graphad.numpy as gnp

answer = 42

def tree(p, xs):
    return gnp.sum(gnp.tanh(xs[0] @ p["w"]) * p["b"]) + xs[1]

def branch(x):
    if x > 0:
        return gnp.sin(x)
    return x * 2.0

def layers(x, n, kind):
    for _ in range(n):
        x = getattr(gnp, kind)(x)
    return x.sum()

def rows(x):
    return x.sum(axis=1)

@graphad.compile_grad
def compiled(x):
    return gnp.sum(x * x)

@graphad.jit
def jitted(x):
    return gnp.cos(x)

@graphad.custom_jvp
def custom(x):
    return x * 2

custom.defjvp(lambda primals, tangents: (primals[0] * 2, tangents[0] * 3))

def divides(x):
    return x / (1 // 0)

def converts(x):
    return float(x)

class Model:
    @staticmethod
    def call(x):
        return gnp.exp(x)
"""


@pytest.fixture
def model(module_file):
    """The path of a file with functions to look into."""
    return module_file("model_to_inspect", MODEL)


@pytest.fixture
def show(capsys):
    """Run the command line in this process; its output, and no errors."""

    def run(*argv):
        status = main(["inspect", *argv])
        out, err = capsys.readouterr()
        assert (status, err) == (0, ""), err
        return out

    return run


@pytest.fixture
def refuse(capsys):
    """Run the command line on wrong input; the one line of its error."""

    def run(*argv):
        try:
            status = main(argv)
        except SystemExit as stopped:  # what argparse refuses
            status = stopped.code
        out, err = capsys.readouterr()
        assert status == 2
        assert out == ""
        assert err.count("\n") == 1, err
        return err

    return run


# --- stages


@pytest.mark.parametrize("stage", inspection.GRAPH_STAGES)
def test_graph_stages_parse_back(stage, show):
    text = show(LOSS, "--args", LOSS_ARGS, "--stage", stage)
    graph = parse_graph(text)
    again = inspection.stage_graph(inspection.load_function(LOSS), parse_arguments(LOSS_ARGS), stage)
    assert isinstance(graph, Graph)
    assert graph == again
    assert "mlp.py:" in text


def test_the_adjoint_has_value_and_gradient(show):
    graph = parse_graph(show(LOSS, "--args", LOSS_ARGS, "--stage", "adjoint"))
    assert [repr(a) for a in graph.out_avals] == ["f32[]", "f32[64]"]
    both = parse_graph(show(LOSS, "--args", LOSS_ARGS, "--stage", "adjoint", "--argnums", "0, 1"))
    assert [repr(a) for a in both.out_avals] == ["f32[]", "f32[64]", "f32[8,64]"]


@pytest.mark.parametrize(
    ("in_axes", "avals"),
    [("0", "f32[5,64] f32[5,8,64]"), ("None, 0", "f32[64] f32[5,8,64]"), ("0, -1", "f32[5,64] f32[8,64,5]")],
)
def test_batched_adds_an_axis_to_the_arguments(in_axes, avals, show):
    options = ["--stage", "batched", "--in-axes", in_axes, "--batch-size", "5"]
    graph = parse_graph(show(LOSS, "--args", LOSS_ARGS, *options))
    assert " ".join(map(repr, graph.in_avals)) == avals
    assert [repr(a) for a in graph.out_avals] == ["f32[5]"]


@pytest.mark.parametrize(
    ("stage", "lines"),
    [
        ("loops", [r"program @loss", r"for \w+ in \d+", r"exp\("]),
        ("source", [r"^@njit", r"^def loss", r"# mlp.py:\d+"]),
        ("llvm", [r"^define ", r"ret i64 0"]),
        ("asm", [r"^\s+ret"]),
    ],
)
def test_program_stages(stage, lines, show):
    text = show(LOSS, "--args", LOSS_ARGS, "--stage", stage)
    for line in lines:
        assert re.search(line, text, re.MULTILINE), f"no line {line} in\n{text}"


def test_programs_are_of_the_gradient_where_there_is_one(model, show):
    assert "-> (out0: f32[1], out1: f32[64])" in show(LOSS, "--args", LOSS_ARGS, "--stage", "loops")
    assert "-> (out0: f32[1])" in show(LOSS, "--args", LOSS_ARGS, "--stage", "loops", "--of", "simplified")
    assert "-> (out0: f32[8])" in show(LOSS, "--args", LOSS_ARGS, "--stage", "loops", "--of", "batched")
    assert "-> (out0: f32[2])" in show(f"{model}:rows", "--args", "f32[2,3]", "--stage", "loops")


def test_the_source_runs(model):
    """As it stands, on flat arrays."""
    fun = inspection.load_function(f"{model}:compiled")
    text = inspection.stage_text(fun, parse_arguments("f32[5]"), "source")
    namespace = {}
    exec(text, namespace)
    x, value, grad = np.arange(5, dtype=np.float32), np.zeros(1, np.float32), np.zeros(5, np.float32)
    (name,) = re.findall(r"^def (\w+)", text, re.MULTILINE)
    assert namespace[name](x, value, grad) == 0
    np.testing.assert_allclose(value, [30.0])
    np.testing.assert_allclose(grad, 2 * x)


def test_pytrees_of_arguments(model, show):
    graph = parse_graph(
        show(f"{model}:tree", "--args", "{w: f32[4,3], b: f32[]}, (f64[2,4], 1.5)", "--stage", "adjoint")
    )
    assert " ".join(map(repr, graph.in_avals)) == "f32[] f32[4,3] f64[2,4] f64[]"  # keys in order: b, w
    assert " ".join(map(repr, graph.out_avals)) == "f64[] f32[] f32[4,3]"


def test_in_axes_are_pytrees_too(model, show):
    options = ["--stage", "batched", "--in-axes", "{w: None, b: 0}, (0, None)"]
    graph = parse_graph(show(f"{model}:tree", "--args", "{w: f32[4,3], b: f32[]}, (f32[2,4], 1.5)", *options))
    assert " ".join(map(repr, graph.in_avals)) == "f32[8] f32[4,3] f32[8,2,4] f32[]"


def test_values_let_a_function_branch(model, show):
    positive = show(f"{model}:branch", "--args", "f32[]=2.0", "--stage", "simplified")
    assert "guard" in positive
    assert "sin" in positive
    assert "sin" not in show(f"{model}:branch", "--args", "-2.0")


def test_python_values_are_compiled_in(model, show):
    text = show(f"{model}:layers", "--args", "f32[3], 3, 'tanh'", "--stage", "traced")
    assert text.count("= tanh ") == 3
    assert len(parse_graph(text).in_avals) == 1
    batched = show(f"{model}:layers", "--args", "f32[3], 2, 'tanh'", "--stage", "batched")
    assert parse_graph(batched).in_avals[0].shape == (8, 3)


def test_compiled_functions_are_looked_into(model, show):
    assert "mul" in show(f"{model}:compiled", "--args", "f32[3]", "--stage", "traced")
    assert "= cos %0" in show(f"{model}:jitted", "--args", "f32[3]", "--stage", "traced")


def test_custom_rules_parse_back_by_name(model):
    graph = inspection.stage_graph(inspection.load_function(f"{model}:custom"), parse_arguments("f32[3]"), "traced")
    rules = {}
    text = format_graph(graph, rules)
    assert "custom_jvp[rule=@custom]" in text
    assert parse_graph(text, rules) == graph


def test_modules_and_methods_are_targets(model, show):
    assert "= tanh %0" in show("graphad.numpy:tanh", "--args", "f32[3]")
    assert "= exp %0" in show(f"{model}:Model.call", "--args", "f32[3]")


# --- the text of arguments


def spec(text):
    (argument,) = parse_arguments(text)
    return argument


def test_types():
    assert spec("f32[3, 4]") == graphad.ShapeDtypeStruct((3, 4), "float32")
    assert spec("float64[]") == graphad.ShapeDtypeStruct((), "float64")
    assert spec("bool[0]") == graphad.ShapeDtypeStruct((0,), "bool")
    assert spec("bf16 [7]").aval.dtype.name == "bf16"


def test_values():
    filled = spec("i32[2,2]=3")
    assert isinstance(filled, np.ndarray)
    assert filled.dtype == np.int32
    np.testing.assert_array_equal(filled, 3)
    assert spec("f32[]=-1e-3") == np.float32(-1e-3)
    assert spec("bool[]=True") == np.True_
    assert np.isnan(spec("f64[]=nan"))
    assert spec("-1.5") == -1.5
    assert spec("3") == Static(3)
    assert spec("'a b'") == Static("a b")
    assert spec("True") == Static(True)
    assert spec("None") is None


def test_containers():
    assert parse_arguments("") == ()
    assert parse_arguments(" 1.0 , 2.0, ") == (1.0, 2.0)
    assert spec("()") == ()
    assert spec("(1.0)") == 1.0
    assert spec("(1.0,)") == (1.0,)
    assert spec("[]") == []
    assert spec("{'a b': 1.0, c: [2.0, None], 3: ()}") == {"a b": 1.0, "c": [2.0, None], 3: ()}


@pytest.mark.parametrize(
    "text", ["f32[3,4], {w: f32[], b: bf16[7]}", "(i32[2], 1.5), [None, 3], (u8[],)", "True, 'x'", ""]
)
def test_formatted_arguments_parse_back(text):
    assert format_arguments(*parse_arguments(text)) == text


def test_arrays_are_formatted_as_their_types():
    model = [{"w": gnp.ones((2, 3)), "b": np.zeros(3)}, (1.5, None)]
    assert format_arguments(model, 2) == "[{w: f32[2,3], b: f64[3]}, (1.5, None)], 2"
    assert repr(f32) in format_arguments(graphad.ShapeDtypeStruct((), "float32"))
    with pytest.raises(TypeError, match="a set has no text"):
        format_arguments({1, 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f32[3", "column 1: f32 needs a shape"),
        ("f32", "f32 needs a shape: f32[] for a scalar"),
        ("f31[3]", "there is no dtype f31. Did you mean 'f32'"),
        ("f32[3,x]", "[3,x] is not a shape"),
        ("f32[-1]", "[-1] is not a shape"),
        ("f32[3] f32[3]", "column 8: expected , or the end"),
        ("(f32[3], 1.0", "column 13: expected , or )"),
        ("[f32[3],", "expected ] before the end"),
        ("{w f32[3]}", "expected : and a value after the key w"),
        ("{[]: f32[3]}", "expected a key"),
        ("f32[3]=x", "expected a number after ="),
        ("i32[3]=1.5", "an array of i32 cannot hold 1.5"),
        ("u8[]=300", "an array of u8 cannot hold 300"),
        ("f32[3], ,", "expected an argument such as"),
        ("relu", "expected an argument such as f32[3,4], 1.5 or (f32[], i32[2]), not 'relu'"),
        ("f32[3] $", "'$' has no meaning here"),
    ],
)
def test_wrong_arguments_show_the_place(text, message):
    with pytest.raises(ParseError) as raised:
        parse_arguments(text)
    said = str(raised.value)
    assert message in said
    assert re.match(rf"arguments, column \d+: .*\n  {re.escape(text)}\n +\^$", said)


# --- wrong input


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        ("nothere.py:f", "", "there is no file nothere.py"),
        ("no_such_module:f", "", "there is no module no_such_module"),
        ("graphad.numpy:tanhh", "", "graphad.numpy has no function tanhh. Did you mean 'tanh'"),
        ("graphad.numpy", "", "'graphad.numpy' is no target; write file.py:function or package.module:function"),
        ("MODEL:answer", "", "is a int, not a function"),
        ("MODEL:rows", "f32[2", "--args, column"),
        ("MODEL:rows", "", "TypeError: "),
        ("MODEL:rows", "f32[2,3], f32[2]", "TypeError: "),
        ("MODEL:rows", "", "and --args is missing. Give the type of each argument, such as --args 'f32[8]'"),
        ("MODEL:rows", "f32[2,3], f32[2]", "and --args gives 2 of them: too many positional arguments"),
        ("graphad.nn:softmax", "", "graphad.nn:softmax takes (x, axis=-1, where=None), and --args is missing"),
        ("graphad.numpy:add", "f32[2]", "add takes (x, y, /), and --args gives 1 of them: missing a required argument"),
        ("MODEL:rows", "f32[2]", "axis 1"),
        ("MODEL:branch", "f32[]", "model_to_inspect.py:11: "),
        ("MODEL:divides", "f32[]", "ZeroDivisionError: model_to_inspect.py:38: integer division or modulo by zero"),
        ("MODEL:converts", "f32[]", "model_to_inspect.py:41: "),
    ],
)
def test_wrong_input_takes_one_line(model, refuse, target, args, message):
    target = target.replace("MODEL", model)
    err = refuse("inspect", target, "--args", args)
    assert err.startswith("graphad inspect: error: ")
    assert message in err


def test_wrong_options_take_one_line(model, refuse):
    rows = ["inspect", f"{model}:rows", "--args", "f32[2,3]"]
    assert "invalid choice: 'lops'" in refuse(*rows, "--stage", "lops")
    assert "--argnums 'w' must be an int" in refuse(*rows, "--argnums", "w")
    assert "--in-axes holds ints and None" in refuse(*rows, "--in-axes", "1.5")
    assert "batch axis 5 in an argument of shape (2, 3)" in refuse(*rows, "--stage", "batched", "--in-axes", "5")
    assert "returns f32[2]" in refuse(*rows, "--stage", "adjoint")
    assert "argnums=7" in refuse(*rows, "--stage", "adjoint", "--argnums", "7")
    assert "invalid int value" in refuse(*rows, "--batch-size", "many")
    assert "--help" in refuse()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_either\n", "importing broken.py failed: ModuleNotFoundError: broken.py:1: "),
        ("def f(:\n", "importing broken.py failed: SyntaxError: broken.py:1: "),
        ("\n1 / 0\n", "importing broken.py failed: ZeroDivisionError: broken.py:2: division by zero"),
        ("import sys\nsys.exit(3)\n", "importing broken.py failed: SystemExit: broken.py:2: 3"),
    ],
)
def test_files_that_cannot_be_imported(tmp_path, monkeypatch, refuse, text, message):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken.py").write_text(text)
    assert message in refuse("inspect", f"{tmp_path / 'broken.py'}:f")
    assert "broken" not in sys.modules


def test_the_traceback_is_there_for_the_asking(model):
    with pytest.raises(ZeroDivisionError):
        main(["inspect", f"{model}:divides", "--args", "f32[]", "--traceback"])


# --- the terminal


def test_colours_only_where_they_are_wanted(show, monkeypatch):
    plain = show(LOSS, "--args", LOSS_ARGS)
    assert "\x1b[" not in plain
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = show(LOSS, "--args", LOSS_ARGS, "--color", "always")
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


@pytest.mark.parametrize("stage", ["adjoint", "source", "llvm"])
def test_colours_leave_the_text_alone(stage):
    text = inspection.stage_text(inspection.load_function(LOSS), parse_arguments(LOSS_ARGS), stage)
    painted = colored(text, stage)
    assert painted != text
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", painted).splitlines()] == [
        line.rstrip() for line in text.rstrip("\n").splitlines()
    ]


def test_help_and_version(capsys):
    for argv, expected in ((["--version"], "graphad "), (["inspect", "--help"], "--stage STAGE"), (["-h"], "inspect")):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
        assert expected in capsys.readouterr().out


def test_as_a_program():
    """``python -m graphad``, with a reader that leaves before the end."""
    command = [
        sys.executable,
        "-m",
        "graphad",
        "inspect",
        "examples/mlp.py:loss",
        "--args",
        LOSS_ARGS,
        "--stage",
        "source",
    ]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    whole = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=True)
    assert whole.stdout.startswith('"""loss')
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=env) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
    wrong = subprocess.run(
        [*command[:4], "examples/mlp.py:los"], capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "graphad inspect: error: examples/mlp.py has no function los. Did you mean 'loss'?\n"
