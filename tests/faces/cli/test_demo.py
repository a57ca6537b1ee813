"""The examples: the demo learns, reports, and names a command that works."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import graphad
import graphad.numpy as gnp
from graphad.cli import main as graphad_main

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Import an example as `python examples/NAME.py` would, in a folder of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module
    for name in ("demo", "mlp"):
        sys.modules.pop(name, None)


def test_the_demo(example, capsys, tmp_path):
    accuracy = example("demo").main([])
    out = capsys.readouterr().out
    assert accuracy >= 0.97
    assert f"test accuracy {accuracy:.1%} on 360 images" in out
    assert re.search(r"^\d+\.\d{3} ms a step; the first, with compilation, \d+ ms$", out, re.MULTILINE)

    height, width, _ = imread(tmp_path / "digits_loss.png").shape
    assert min(height, width) > 400

    plot = [line for line in out.splitlines() if re.match(r" *[\d.]+ \|", line)]
    first, last = (re.match(r" *([\d.]+) \|", line)[1] for line in (plot[0], plot[-1]))
    assert plot[0].split("|")[1].startswith("*"), "the loss is highest at the start"
    assert float(first) > 10 * float(last)

    (command,) = re.findall(r"-m graphad (inspect .*\n.*)", out)
    assert graphad_main(shlex.split(command.replace("\\\n", ""))) == 0
    source = capsys.readouterr().out
    assert "gemm(" in source
    assert "# mlp.py:" in source


def test_the_demo_follows_its_seed(example, capsys):
    demo = example("demo")
    runs = [demo.main(["--epochs", "1", "--seed", seed]) for seed in ("1", "1", "2")]
    assert runs[0] == runs[1] != runs[2]
    curves = re.findall(r"((?:^ *[\d.]+ \|.*\n)+)", capsys.readouterr().out, re.MULTILINE)
    assert curves[0] == curves[1] != curves[2]


def test_the_demo_without_rich(example, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert list(example("demo").with_progress(range(3), 3)) == [0, 1, 2]
    assert "Training for 3 steps" in capsys.readouterr().out


def test_the_demo_refuses_no_epochs(example, capsys):
    with pytest.raises(SystemExit):
        example("demo").main(["--epochs", "0"])
    assert "--epochs must be at least 1" in capsys.readouterr().err


def test_the_gradient_of_the_network(example, rng):
    mlp = example("mlp")
    with graphad.config.override(default_dtype_bits=64):
        params = mlp.init_params(graphad.random.key(0), [5, 4, 10])
        images, digits = gnp.array(rng.normal(size=(7, 5))), gnp.array([0, 1, 2, 2, 1, 0, 1])
        graphad.check_grads(lambda p: mlp.mlp_loss(p, images, digits), (params,), order=1)


def test_the_loss_of_a_network_that_knows_nothing(example):
    """All scores equal: the loss is the logarithm of the number of digits."""
    mlp = example("mlp")
    params = [{"w": gnp.zeros((6, 10)), "b": gnp.zeros(10)}]
    assert float(mlp.mlp_loss(params, gnp.ones((4, 6)), gnp.array([0, 3, 9, 9]))) == pytest.approx(np.log(10), rel=1e-6)
