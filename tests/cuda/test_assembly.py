"""Every kernel of whole programs and of all primitives through NVIDIA's assembler, for four generations of GPUs.

It needs no GPU. What it refuses would fail on one; what it spills would be slow.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import default_pipeline
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.assemble import assemble
from graphad.backends.cuda.ptx.emit import KernelLaunch, emit
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Gemm
from graphad.backends.lower.fuse import lower
from graphad.errors import DeviceError, LoweringError
from graphad.ir.types import f32, i32
from graphad.passes import applied
from graphad.train import make_step
from tests.cuda import loops
from tests.cuda.devices import DEVICES
from tests.cuda.programs import EMULATED_TRAITS, for_device, for_device_of, programs
from tests.cuda.test_primitives import on_gpus
from tests.primitives.cases import case_id, cases
from tests.primitives.test_engines import all_samples
from tests.thinned import every

EXAMPLES = Path(__file__).parents[2] / "examples"
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
#: Registers of a thread with which a whole multiprocessor of 64 k registers holds 1,024 threads and more; and what the
#: few larger kernels may take (of 50 bodies, the assembler unrolls a whole sum).
REGISTERS = 64
MORE_REGISTERS = {"convolution_gradient": 72, "cumulative": 72, "nbody_forces": 128}


def has_assembler():
    try:
        toolkit.nvjitlink()
    except DeviceError:
        return False
    return True


assembler = pytest.mark.skipif(not has_assembler(), reason="NVIDIA's assembler (nvidia-nvjitlink) is not installed")


@pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no assembler for macOS")
def test_the_assembler_is_here():
    """It is among the packages that tests need: without it the others here would be skipped and nobody told."""
    assert has_assembler(), "pip install graphad[test] brings it"


@cache
def scheduled(name):
    return schedule(for_device(name)[0])


def check(device, architecture, registers, libraries=(False, True)):
    for has_gemm in libraries if any(isinstance(step, Gemm) for step in device.steps) else (False,):
        emitted = emit(device, architecture=architecture, has_gemm=has_gemm, comments=False)
        if not any(isinstance(launch, KernelLaunch) for launch in emitted.launches):
            continue
        for kernel in assemble(emitted.ptx, architecture).kernels:
            assert kernel.spill_stores == kernel.spill_loads == 0, kernel
            if "gemm" not in kernel.name:
                assert kernel.registers <= registers, kernel


@assembler
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
@pytest.mark.parametrize("name", programs())
def test_programs_assemble(name, architecture):
    check(scheduled(name), architecture, MORE_REGISTERS.get(name, REGISTERS))


LOOPS = [(kind, name) for kind in (loops.statements, loops.steps) for name in kind("float64")]


@assembler
@pytest.mark.parametrize(("kind", "name"), every(3, LOOPS, several=True))
def test_loops_assemble(kind, name):
    program, _ = for_device_of(*kind("float64")[name])
    check(schedule(program), "sm_90", 255)  # one thread that unrolls short loops has all that there are


@assembler
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_80", "sm_100"])
@pytest.mark.parametrize("name", programs())
def test_programs_assemble_for_others(name, architecture):
    check(scheduled(name), architecture, MORE_REGISTERS.get(name, REGISTERS))


@assembler
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("primitive", "dtype"), cases((f32, i32), on_gpus), ids=case_id)
def test_primitives_assemble(primitive, dtype, architecture):
    graph, _, _ = all_samples(primitive, dtype)
    check(schedule(lower(graph, traits=EMULATED_TRAITS).program), architecture, 255, (False,))


@assembler
@pytest.mark.parametrize("shape", [(64, 5, 5), (2, 9, 9)], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(gnp.linalg.eigh, id="eigh"),
        pytest.param(gnp.linalg.inv, id="inv"),
        pytest.param(gnp.linalg.svd, id="svd", marks=pytest.mark.slow),
    ],
)
def test_graphs_of_routines_assemble(function, shape):
    graph = applied(graphad.make_graph(function)(np.ones(shape, np.float32)), default_pipeline(DEVICES[0]))
    check(schedule(lower(graph, traits=EMULATED_TRAITS).program), "sm_90", 255)


def example(name):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def training_step(name, precision=None):
    """An example's whole training step on a device: loss, adjoint, update by Adam."""
    normal = np.random.default_rng(0).standard_normal
    labels = np.arange(64, dtype=np.int32) % 10
    if name == "mlp":
        module = example("mlp")
        loss, params = module.mlp_loss, module.init_params(graphad.random.key(0), [64, 128, 64, 10])
        batch = normal((64, 64)).astype(np.float32), labels
    elif name == "lenet":
        module = example("lenet")
        loss, params = module.loss, module.init_params(graphad.random.key(0))
        batch = normal((64, 8, 8)).astype(np.float32), labels
    else:
        loss, params = example("many_clicks").loss, {"w": np.zeros(20, np.float32), "b": np.zeros((), np.float32)}
        batch = normal((1000, 20)).astype(np.float32), np.ones(1000, np.float32)
    step = make_step(loss, graphad.optim.adam(1e-3), donate=False, precision=precision)
    return schedule(lower(step._program.graph(step.init(params), batch), traits=EMULATED_TRAITS).program)


@assembler
@pytest.mark.parametrize("name", ["mlp", "lenet", "many_clicks"])
@pytest.mark.parametrize(
    "architecture", ["sm_90", *[pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES if a != "sm_90"]]
)
def test_training_steps_of_the_examples_assemble(name, architecture):
    check(training_step(name), architecture, MORE_REGISTERS["convolution_gradient"] if name == "lenet" else REGISTERS)


@assembler
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
@pytest.mark.parametrize(
    ("name", "precision"), every(2, [("mlp", "float16"), ("mlp", "bfloat16"), ("lenet", "bfloat16")], several=True)
)
def test_training_steps_in_16_bits_assemble(name, precision, architecture):
    step = training_step(name, precision)
    assert {s.dtype.bits for s in step.steps if isinstance(s, Gemm)} == {16}
    check(step, architecture, MORE_REGISTERS["convolution_gradient"] if name == "lenet" else REGISTERS)


@assembler
def test_wrong_ptx_is_refused():
    device = schedule(for_device("gelu")[0])
    ptx = emit(device, architecture="sm_90", comments=False).ptx
    assert assemble(ptx, "sm_90").kernels
    with pytest.raises(LoweringError, match="line"):
        assemble(ptx.replace("fma.rn.ftz.f32", "fma.rn.ftz.q32", 1), "sm_90")
