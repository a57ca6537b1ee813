"""`graphad check`: what it says, and its exit status."""

from __future__ import annotations

import re

import pytest

from graphad.cli import main
from graphad.primitives.elementwise import mul, neg, sin
from graphad.primitives.shape import rev

MODEL = """
import graphad
import graphad.numpy as gnp

def good(p, n):
    return gnp.tanh(p["w"] * n).sum() + p["b"][0]

def waves(x):
    if x.sum() > 100:
        return x
    return gnp.exp(gnp.sin(x))

@graphad.custom_jvp
def triple(x):
    return x * 3

triple.defjvp(lambda primals, tangents: (primals[0] * 3, tangents[0] * 2))

@graphad.jit
def custom(x):
    return triple(x) + 1
"""


@pytest.fixture
def model(module_file):
    return module_file("model_to_check", MODEL)


@pytest.fixture
def check(capsys):
    def run(*argv):
        status = main(["check", *argv])
        out, err = capsys.readouterr()
        assert err == ""
        return status, out

    return run


def line_of(text):
    return MODEL.splitlines().index(text) + 1


def test_nothing_wrong(model, check):
    assert check(f"{model}:good", "--args", "{w: f32[3], b: [f64[]]}, 3") == (
        0,
        "good: 5 equations, their derivatives, transposes and batching rules: all are right at these values\n",
    )
    for arguments in (["f64[2,3]"], ["f32[2]=0.5", "--seed", "3", "--order", "2"]):
        status, out = check(f"{model}:waves", "--args", *arguments)
        assert status == 0
        assert "all are right" in out


def test_a_graph(model, check, tmp_path, capsys):
    main(["inspect", f"{model}:waves", "--args", "f32[3]=0.5"])
    path = tmp_path / "waves.graph"
    path.write_text(capsys.readouterr().out)
    assert check(str(path)) == (
        0,
        "waves: 4 equations, their derivatives, transposes and batching rules: all are right at these values\n",
    )


def test_a_custom_rule(model, check):
    status, out = check(f"{model}:custom", "--args", "f32[3]=1.5")
    assert status == 1
    first, fault = out.split("\n\n")
    assert first.endswith("1 wrong at these values")
    line = line_of("    return triple(x) + 1")
    assert fault.startswith(f"model_to_check.py:{line}: the derivative of triple (custom_jvp) is wrong: along a random")
    assert "    return triple(x) + 1\nIt meets [1.5, 1.5, 1.5]." in fault
    found, expected = map(float, re.search(r"by (\S+), by differences of its values by (\S+):", fault).groups())
    assert found / expected == pytest.approx(2 / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("slot", "wrong", "says"),
    [
        ("jvp", (lambda t, x, y: mul(t, x),), "the derivative of sin is wrong"),
        ("batch", lambda size, marks, x: rev(sin(x), axes=(0,)), "the batching rule of sin is wrong"),
    ],
)
def test_a_wrong_rule(model, check, monkeypatch, slot, wrong, says):
    monkeypatch.setattr(sin, slot, wrong)
    status, out = check(f"{model}:waves", "--args", "f32[3]")
    assert status == 1
    assert f"model_to_check.py:{line_of('    return gnp.exp(gnp.sin(x))')}: {says}" in out


def test_a_rule_that_raises_is_an_error(model, capsys, monkeypatch):
    monkeypatch.setattr(sin, "jvp", (lambda t, x, y: neg(),))
    assert main(["check", f"{model}:waves", "--args", "f32[3]"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(r"graphad check: error: .*the derivative rule of sin raised TypeError: .*\n$", err)


def test_wrong_input_takes_one_line(model, capsys):
    assert main(["check", f"{model}:waves", "--args", "f32[3]", "--order", "0"]) == 2
    assert capsys.readouterr().err == "graphad check: error: --order 0 is no order of derivatives; 1 is the first\n"
    assert main(["check", f"{model}:good"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
