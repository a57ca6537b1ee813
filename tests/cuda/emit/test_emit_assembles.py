"""NVIDIA's assembler takes the PTX on every architecture, spills nothing, and needs no more registers than stated."""

from __future__ import annotations

import pytest

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.program.ir import Atomic, DeviceProgram
from graphad.backends.cuda.ptx.assemble import assemble
from graphad.backends.loops.ir import Combine, Load
from graphad.errors import DeviceError
from graphad.ir.lowering import ELEMENTARY
from graphad.ir.types import DTYPES, DType, bf16, f16, f32, f64, i32, i64
from tests.cuda.emit.harness import at, axes, buffers, emitted, kernel, program
from tests.cuda.emit.programs import affine, chain, product, scan, softmax
from tests.thinned import every

names = pytest.mark.parametrize
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")


@pytest.fixture(autouse=True)
def assembler() -> None:
    try:
        toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("the assembler is not installed")


def scatter(dtype: DType) -> DeviceProgram:
    combines: list[Combine] = ["sum", "prod", "max", "min"]
    body = [Load("v", "x", at(i=1)), Load("k", "n", at(i=1))]
    updates = [Atomic(f"y_{c}", at(), "v", "k", combine=c) for c in combines]
    outputs = buffers("output", **{f"y_{c}": (dtype, 9) for c in combines})
    uses = ["x", "n", *[o.name for o in outputs]]
    return program(
        buffers("input", x=(dtype, 4096), n=(i64, 4096)), outputs, kernel(axes(i=4096), *body, *updates, uses=uses)
    )


UNARY = [name for name, arity in ELEMENTARY.items() if arity == 1]
PROGRAMS: dict[str, tuple[DeviceProgram, int]] = {
    **{f"{op}_{dtype}": (chain((op,), dtype), 48) for op in UNARY for dtype in (f32, f64)},
    "lanes_f32": (chain(("exp", "tanh", "sin"), f32, 4), 64),
    "lanes_f16": (chain(("exp", "tanh"), f16, 4), 48),
    "lanes_f64": (chain(("exp", "log1p"), f64, 2), 64),
    "affine_bf16": (affine(64, 64, bf16, 4), 40),
    "softmax_warp": (softmax(64, 300, 32, 128), 40),
    "softmax_block": (softmax(64, 3000, 256, 256), 40),
    "softmax_of_much_shared_memory": (softmax(2, 20000, 256, 256), 40),
    "scan_f32": (scan(8, 3000, f32, "sum", 0.0, 256, 256), 48),
    "scan_i64": (scan(8, 3000, i64, "max", 0, 32, 64), 64),
    **{f"scatter_{dtype}": (scatter(dtype), 48) for dtype in (f32, f64, i32, bf16, DTYPES["u8"])},
    "gemm_f32": (product(f32, 256), 80),
    "gemm_f32_fused": (product(f32, 256, fused=True), 80),
    "gemm_f32_edges": (product(f32, 257, transposed=True), 112),
    "gemm_f64": (product(f64, 256), 128),
    "gemm_bf16_small": (product(bf16, 17), 64),
    "gemm_bf16": (product(bf16, 256, fused=True), 96),
    "gemm_f16": (product(f16, 257, transposed=True), 112),
    "gemm_f16_f32": (product(f16, 256, result=f32), 96),
}


@names("architecture", every(4, ARCHITECTURES[::-1]))
def test_nothing_is_spilled(architecture: str) -> None:
    over = {}
    for name, (p, ceiling) in PROGRAMS.items():
        for report in assemble(emitted(p, architecture=architecture, comments=False).ptx, architecture).kernels:
            if report.spill_stores or report.stack_bytes or report.registers > ceiling:
                over[name] = report
    assert not over
