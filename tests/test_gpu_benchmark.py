"""The benchmark for GPUs, without one: every program runs and is right, and what is wrong is found."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import graphad
import graphad.numpy as gnp

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import gpu
import gpu_libraries
from gpu_programs import PROGRAMS

TITLES = {p.title: p for p in PROGRAMS}


@pytest.mark.slow
@pytest.mark.parametrize("device", [d.name for d in graphad.devices()])
def test_every_program_is_right(device, capsys):
    assert gpu.main(["--device", device, "--quick", "--peers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{device}, numpy " in lines[0]
    assert [line.partition(": right at ")[0] for line in lines[1 : 1 + len(PROGRAMS)]] == [p.title for p in PROGRAMS]
    assert lines[-1] == f"{len(PROGRAMS)} programs, 0 wrong results"


@pytest.mark.parametrize(
    "only", ["^sort$|LeNet|^cross|attention", pytest.param("", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_jax_runs_the_same_programs(only, capsys):
    assert gpu.main(["--device", "cpu", "--quick", "--peers", "jax", "--only", only]) == 0
    assert capsys.readouterr().out.count("right at") == (4 if only else len(PROGRAMS))


def test_pytorch_runs_the_same_programs(capsys):
    pytest.importorskip("torch")
    assert gpu.main(["--device", "cpu", "--quick", "--peers", "torch"]) == 0
    assert capsys.readouterr().out.count("right at") == len(PROGRAMS)


def wrong(**names):
    """A library that does something else under one of its names."""
    library = gpu_libraries.Traced("wrong", graphad, gnp, graphad.lax, "cpu")
    library.names = replace(library.names, **names)
    return library


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("sort", {"sort": lambda x: x}),
        ("logistic regression, gradient", {"relu": lambda x: x * 0.999}),
        ("cross entropy, gradient", {"pick": lambda rows, numbers: rows[:, 0]}),
        ("MLP, step", {"relu": gnp.abs}),
        ("LeNet, step", {"pool": lambda x: x[:, :, ::2, ::2]}),
        ("attention, gradient", {"row_max": lambda x: x.max(-1, keepdims=True) + 100}),
    ],
)
def test_wrong_results_are_found(title, names, monkeypatch, capsys):
    assert not gpu.check(TITLES[title], [gpu_libraries.open_graphad("cpu")])
    (said,) = gpu.check(TITLES[title], [gpu_libraries.open_graphad("cpu"), wrong(**names)])
    assert re.fullmatch(rf"{title}: wrong is (\S+) off", said)
    monkeypatch.setitem(gpu.PEERS, "jax", lambda device: wrong(**names))
    assert gpu.main(["--device", "cpu", "--quick", "--only", f"^{title}$", "--peers", "jax"]) == 1
    assert capsys.readouterr().out.endswith("1 programs, 1 wrong results\n")


def test_a_training_step_that_does_not_train_is_found(monkeypatch):
    program = TITLES["MLP, step"]
    library = gpu_libraries.open_graphad("cpu")

    def idle(program, arguments):
        call = type(library).prepare(library, program, arguments)
        first = call()
        return lambda: first

    monkeypatch.setattr(library, "prepare", idle)
    assert "off" in gpu.check(program, [library])[0]


def test_the_table(monkeypatch, capsys):
    quick = [
        replace(TITLES[t], sizes={"tiny": TITLES[t].quick}) for t in ("add 1", "N-body, forces", "small MLP, step")
    ]
    monkeypatch.setattr(gpu, "PROGRAMS", quick)
    monkeypatch.setattr(gpu, "peak_bandwidth", lambda device: 1e9)
    assert gpu.main(["--device", "cpu", "--rounds", "2", "--peers", "jax"]) == 0
    head, rule, *rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert head == "| program | size | graphad us | jax us | ratio | launches | GB/s | of peak |"
    assert rule.count("|") == head.count("|")
    number = r"[\d,]+(\.\d+)?"
    for row, program in zip(rows, quick, strict=True):
        shown = rf"\| {program.title} \| tiny \|( {number} \|){{5}} \d+% \|"
        assert re.fullmatch(shown, row), row
    moved = gpu.Row("copy", "8", {"graphad": 2e-6, "jax": 3e-6, "torch": 1e-6}, 1, 4000)
    text = gpu.table([moved], ["graphad", "jax", "torch"], 4e9).splitlines()[-1]
    assert text == "| copy | 8 | 2.0 | 3.0 | 1.0 | 0.50 | 1 | 2.0 | 50% |"
    assert gpu.table([moved], ["graphad"], None).endswith("| copy | 8 | 2.0 |  | 1 | 2.0 |  |")


def test_who_is_not_here_is_left_out(monkeypatch, capsys):
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
    assert gpu.main(["--device", "cpu", "--quick", "--only", "^add 1$"]) == 0
    said = capsys.readouterr().out
    for name, package in (("torch", "torch"), ("torch.compile", "torch"), ("jax", "jax")):
        assert f"without {name}: {package} is not installed\n" in said


def test_what_is_said_of_a_gpu(monkeypatch):
    def name_of(size, ordinal):
        return 0, b"A GPU".ljust(size, b"\0")

    numbers = {"clock": 2_619_000, "width": 5120}
    driver = SimpleNamespace(
        CUdevice_attribute=SimpleNamespace(
            CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE="clock", CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH="width"
        ),
        cuDeviceGet=lambda index: (0, index),
        cuDeviceGetName=name_of,
        cuDriverGetVersion=lambda: (0, 13_010),
        cuDeviceGetAttribute=lambda which, ordinal: (0, numbers[which]),
    )
    monkeypatch.setattr(gpu.toolkit, "driver", lambda: driver)
    assert gpu.describe("cuda").startswith("A GPU (cuda:0, numpy ")
    assert "driver for CUDA 13.1" in gpu.describe("cuda")
    assert gpu.peak_bandwidth("cuda") == pytest.approx(3.352e12, rel=1e-3)
    assert gpu.peak_bandwidth("cuda:emulated") is gpu.peak_bandwidth("cpu") is None
    numbers["clock"] = 0
    assert gpu.peak_bandwidth("cuda") is None
