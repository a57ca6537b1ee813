"""Without what ``pip install graphad[cuda]`` brings: all of the CPU, and a GPU in emulation."""

from __future__ import annotations

import subprocess
import sys
import textwrap

BARRED = """
    import sys

    class Barred:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("cuda", "nvidia", "numba_cuda", "numba_cuda_mlir", "cupy", "torch"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Barred())
    import numpy as np, graphad, graphad.numpy as gnp
"""


def run(body):
    """The output of a program that finds none of the packages."""
    code = textwrap.dedent(BARRED) + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gradients_and_training():
    printed = run("""
        from graphad.optim import adam
        from graphad.train import fit
        x = np.linspace(-1, 1, 32, dtype=np.float32)
        loss = lambda w, x, y: gnp.mean((w * x - y) ** 2)
        for device in ("cpu", "cuda:emulated"):
            gradient = graphad.jit(graphad.grad(loss), device=device)(np.float32(0.5), x, 2 * x)
            w = fit(loss, gnp.float32(0.5), (x, 2 * x), adam(0.1), epochs=3, device=device, progress=False).params
            print(gradient.device, float(gradient), float(w))
    """)
    cpu, emulated = [line.split() for line in printed.splitlines()]
    assert (cpu[0], emulated[0]) == ("cpu", "cuda:emulated")
    assert abs(float(cpu[1]) - float(emulated[1])) < 1e-6
    assert abs(float(cpu[2]) - float(emulated[2])) < 1e-6


def test_inspection_stops_at_the_assembler():
    printed = run("""
        from graphad.inspection import stage_text
        x = np.zeros(64, np.float32)
        sin = graphad.jit(gnp.sin, device="cuda:emulated")
        print(stage_text(gnp.sin, [x], "ptx").count(".entry"), "1 kernel" in str(sin.explain(x)))
        try:
            stage_text(gnp.sin, [x], "sass")
        except graphad.errors.DeviceError as error:
            print(error)
    """)
    first, *message = printed.splitlines()
    assert first == "1 True"
    assert "pip install graphad[cuda" in "".join(message)


def test_a_gpu_is_one_clear_error():
    printed = run("""
        try:
            graphad.device_put(np.ones(3), "cuda")
        except graphad.errors.DeviceError as error:
            print(error)
    """)
    assert "device='cuda:emulated'" in printed
