"""Arrays that belong to different devices do not mix; whatever belongs to none follows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.config import config
from graphad.device import CPU, Device, parse
from graphad.errors import ConcretizationError

V = np.array([0.5, -1.5, 2.0], np.float32)


@pytest.fixture
def here():
    return graphad.device_put(V, "cpu")


@pytest.fixture
def there(gpu):
    return graphad.device_put(V, gpu)


MIXED = {
    "an operator": (lambda a, b: a + b, "add runs on {0}, where operand 0 is, but operand 1 is on {1}"),
    "the other way round": (lambda a, b: b * a, "mul runs on {1}, where operand 0 is, but operand 1 is on {0}"),
    "a function": (
        lambda a, b: gnp.where(a > 0, a, b),
        "select runs on {0}, where operand [01] is, but operand 2 is on {1}",
    ),
    "arguments of jit": (
        lambda a, b: graphad.jit(lambda x, y: x)(a, b),
        "lambda runs on {0}, where argument 0 is, but argument 1 is on {1}",
    ),
    "leaves": (
        lambda a, b: graphad.jit(lambda x: x)([1.0, a, b]),
        r"where argument 0 \(leaf 1\) is, but argument 0 \(leaf 2\) is on {1}",
    ),
    "an argument and a capture": (
        lambda a, b: graphad.jit(lambda x: x * b)(a),
        "lambda runs on {0}, where argument 0 is, but an array that lambda closes over is on {1}",
    ),
    "the device of jit": (
        lambda a, b: graphad.jit(lambda x: x, device=b.device)(a),
        "lambda runs on {1}, as it was compiled for, but argument 0 is on {0}",
    ),
    "the device of jit, and a capture": (
        lambda a, b: graphad.jit(lambda x: x * a, device=b.device)(1.0),
        "lambda runs on {1}, as it was compiled for, but an array that lambda closes over is on {0}",
    ),
    "under grad": (lambda a, b: graphad.grad(lambda x: (x * b).sum())(a), "but operand 1 is on {1}"),
    "in a tree": (lambda a, b: graphad.jit(lambda t, u: t)({"x": a}, u=b), "but keyword argument leaf 0 is on {1}"),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("swapped", [False, True], ids=["cpu first", "gpu first"])
def test_mixing(here, there, name, swapped):
    use, message = MIXED[name]
    a, b = (there, here) if swapped else (here, there)
    pattern = r"^test_mixing\.py:\d+: .*" + message.format(a.device, b.device) + r".*: write graphad\.device_put\(x, '"
    with pytest.raises(TypeError, match=pattern):
        use(a, b)


def test_the_remedy(here, there):
    place = there.device.name
    np.testing.assert_array_equal(there + graphad.device_put(here, place), 2 * V)
    np.testing.assert_array_equal(graphad.device_put(there, "cpu") + here, 2 * V)


def test_a_path_compiled_before_checks_too(here, there):
    compiled = graphad.jit(lambda x: x * there)
    compiled(gnp.asarray(V))
    with pytest.raises(TypeError, match=r"lambda runs on .* but an array of type f32\[3\] that it takes is on cpu"):
        compiled(here)


def test_what_follows(gpu, there):
    for other in (2.0, 2, True, np.float32(2), V, gnp.asarray(V), gnp.ones(3), gnp.arange(3), np.float64(2)):
        assert (there + other).device.name == gpu
        assert (other + there).device.name == gpu
        assert graphad.jit(lambda x, y: x + y)(other, there).device.name == gpu
    computed = graphad.device_put(V, "cpu") * 2  # on the CPU, but it was not put there
    assert (there + computed).device.name == gpu


def test_a_traced_value_cannot_be_put():
    with pytest.raises(ConcretizationError, match=r"^test_mixing\.py:\d+: device_put: the array at \['w'\]"):
        graphad.jit(lambda x: graphad.device_put({"w": x}, "cpu"))(1.0)


# ---- names and settings


def test_names():
    assert parse("cuda") == parse("cuda:0") == Device("cuda:0")
    assert parse("cpu") is parse(Device("cpu")) is CPU
    assert (parse("cuda:3").kind, parse("cuda:3").index, parse("cuda:3").is_emulated) == ("cuda", 3, False)
    assert parse("cuda:emulated").is_emulated
    for wrong in ("tpu", "cuda:", "cuda:-1", "cuda:01", "cpu:0", "", "emulated"):
        with pytest.raises(ValueError, match=f"there is no device '{wrong}'; devices are 'cpu', 'cuda', "):
            parse(wrong)
    for wrong, right in {"gpu": "cuda", "GPU:1": "cuda:1", "CUDA": "cuda", "nvidia": "cuda", "CPU": "cpu"}.items():
        with pytest.raises(ValueError, match=f"there is no device '{wrong}'; write '{right}'; devices are"):
            parse(wrong)
        parse(right)
    with pytest.raises(TypeError, match="a device is named by a text such as 'cuda', not 3"):
        parse(3)
    for use in (lambda: graphad.device_put(1.0, "tpu"), lambda: graphad.jit(gnp.sin, device="tpu")):
        with pytest.raises(ValueError, match=r"^test_mixing\.py:\d+: there is no device 'tpu'"):
            use()


def test_the_setting():
    for name, value in (("default_device", "cuda"), ("jax_default_device", "gpu")):
        with config.override(**{name: value}):
            assert config.default_device == "cuda:0"
            assert config.jax_default_device == "gpu"
    with pytest.raises(ValueError, match=r"config\.default_device: there is no device 'tpu'; devices are"):
        config.update("default_device", "tpu")
    for wrong in (None, 3, []):
        with pytest.raises(ValueError, match=r"config\.default_device cannot be .*; allowed: the name of a device"):
            config.update("default_device", wrong)
    with pytest.raises(ValueError, match="there is no device 'x'"), graphad.default_device("x"):
        pass


def run_python(code, **env):
    import os

    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    return run.stdout + run.stderr


def test_the_environment():
    code = "import graphad; print(graphad.config.default_device)"
    assert run_python(code, GRAPHAD_DEFAULT_DEVICE="cuda:emulated") == "cuda:emulated\n"
    assert "GRAPHAD_DEFAULT_DEVICE: there is no device 'gpu'" in run_python(code, GRAPHAD_DEFAULT_DEVICE="gpu")


def test_what_is_not_used_is_not_imported():
    code = (
        "import sys, graphad, graphad.numpy as gnp; graphad.jit(graphad.grad(lambda x: x * x))(gnp.asarray(1.0));"
        "graphad.device_put(1.0, 'cpu'); print([m for m in sys.modules if 'cuda' in m])"
    )
    assert run_python(code) == "[]\n"


def test_all_devices():
    names = [d.name for d in graphad.devices()]
    assert names[0] == "cpu"
    assert names[-1] == "cuda:emulated"
    assert len(set(names)) == len(names)
