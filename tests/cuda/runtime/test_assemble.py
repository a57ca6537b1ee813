"""The assembler, what it reports, the files of machine code, and occupancy."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx import assemble as assemble_module
from graphad.backends.cuda.ptx import cubins
from graphad.backends.cuda.ptx.assemble import Assembled, KernelReport, assemble, parse_reports, sass
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS, compile_ptx
from graphad.backends.cuda.ptx.occupancy import MULTIPROCESSORS, occupancy
from graphad.config import config
from graphad.errors import DeviceError, LoweringError
from tests.cuda.emulator.harness import entry
from tests.cuda.runtime.modules import ptx

LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
ptxas info    : Compile time = 2.118 ms
ptxas info    : Compiling entry function 'second_1' for 'sm_90'
ptxas info    : Function properties for second_1
ptxas         .     64 bytes stack frame, 48 bytes spill stores, 52 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 64 bytes cumulative stack size, 16384 bytes smem
ptxas info    : Compile time = 1.000 ms
info    : 0 bytes gmem
info    : Function properties for 'second_1':
info    : used 255 registers, used 1 barriers, 64 stack, 17408 bytes smem, 544 bytes cmem[0], 0 bytes lmem
info    : Function properties for 'first':
info    : used 12 registers, used 0 barriers, 0 stack, 1024 bytes smem, 544 bytes cmem[0], 0 bytes lmem
"""


@pytest.fixture
def assembler():
    try:
        return toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("the assembler is not installed")


def test_reports():
    assert parse_reports(LOG) == (
        KernelReport("first", registers=12),
        KernelReport("second_1", 255, 48, 52, stack_bytes=64, shared_bytes=16384, barriers=1),
    )
    assert parse_reports("") == ()


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_every_architecture(assembler, architecture):
    made = assemble(ptx(architecture), architecture)
    assert made.cubin[:4] == b"\x7fELF"
    assert {k.name for k in made.kernels} == {"double_it", "add_one"}
    assert 0 < made["double_it"].registers <= 32
    assert made["double_it"].shared_bytes == 256
    assert made["double_it"].barriers == 1
    assert all(k.spill_stores == k.spill_loads == 0 for k in made.kernels)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("st.shared", "st.shraed", r"line \d+; error.*shraed.*Line \d+ of the module is: st\.shraed"),
        (".version 8.1", ".version 99.0", r"Unsupported \.version 99\.0"),
        (".target sm_90", ".target sm_100", r"does not support \.target sm_100"),
    ],
)
def test_wrong_modules_are_refused(assembler, right, wrong, said):
    text = ptx()
    assert right in text
    with pytest.raises(LoweringError, match=rf"(?s)refuses this module for sm_90.*{said}"):
        assemble(text.replace(right, wrong), "sm_90")


def test_an_unknown_architecture():
    with pytest.raises(LoweringError, match=r"there is no assembling for the architecture 'sm_7'\. Did you mean 'sm_"):
        assemble(ptx(), "sm_7")


def test_sass(assembler):
    try:
        toolkit.disassembler()
    except DeviceError:
        pytest.skip("the disassembler is not installed")
    text = sass(assemble(ptx(), "sm_90").cubin)
    assert "FADD" in text
    assert "BAR.SYNC" in text
    with pytest.raises(LoweringError, match="cannot read this machine code"):
        sass(b"nonsense")


def test_machine_code_on_disk(tmp_path, monkeypatch):
    """Made once for a text, an architecture and a version; a damaged file is made again."""
    made = []

    def count(text, architecture):
        made.append((text, architecture))
        return Assembled(b"\x7fELF\0code", architecture, (KernelReport("k", 7),), "log")

    monkeypatch.setattr(cubins, "assemble", count)
    with config.override(cache_dir=str(tmp_path)):
        first = cubins.cubin("text", "sm_90")
        assert cubins.cubin("text", "sm_90") == first
        assert len(made) == 1
        cubins.cubin("text", "sm_80")
        cubins.cubin("other", "sm_90")
        assert len(made) == 3
        for path in Path(tmp_path).iterdir():
            path.write_bytes(path.read_bytes()[:-3])
        assert cubins.cubin("text", "sm_90") == first
        assert len(made) == 4
        monkeypatch.setattr(toolkit, "version_of", lambda package: "99")
        cubins.cubin("text", "sm_90")
        assert len(made) == 5


def test_without_the_assembler(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(toolkit.importlib, "import_module", missing)
    monkeypatch.setattr(assemble_module.toolkit, "nvjitlink", toolkit.nvjitlink.__wrapped__)
    with pytest.raises(
        DeviceError, match=r"The assembler is not available\. Looked for .*nvidia-nvjitlink.*graphad\[cuda"
    ):
        assemble(ptx(), "sm_90")


def test_limits_are_known_wherever_code_is_made():
    assert set(MULTIPROCESSORS) == set(PTX_VERSIONS)


@pytest.mark.parametrize(
    ("case", "blocks", "limit"),
    [
        (("sm_90", 128, 32), 16, "warps"),
        (("sm_90", 32, 16), 32, "blocks"),
        (("sm_80", 256, 255), 1, "registers"),
        (("sm_80", 1024, 64), 1, "registers"),
        (("sm_75", 128, 32, 33 << 10), 1, "shared memory"),
        (("sm_90", 128, 32, 227 << 10), 1, "shared memory"),
        (("sm_86", 1024, 255), 0, "registers"),
    ],
)
def test_occupancy(case, blocks, limit):
    """Figures of NVIDIA's occupancy calculator."""
    found = occupancy(*case)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.fraction == blocks * case[1] / 32 / MULTIPROCESSORS[case[0]].warps


def test_occupancy_of_an_unknown_architecture():
    with pytest.raises(LoweringError, match="'sm_35' are not known"):
        occupancy("sm_35", 128, 32)


@pytest.mark.parametrize("architecture", PTX_VERSIONS)
def test_kernels_without_shared_memory(assembler, architecture):
    text = entry("ret;").replace("8.6", "8.8").replace("sm_90", architecture)
    assert assemble(text, architecture)["k"].shared_bytes == 0


def test_products_and_sums_are_fused_where_the_text_says_so(assembler):
    try:
        toolkit.disassembler()
    except DeviceError:
        pytest.skip("the disassembler is not installed")
    body = """
    .reg .b64 %rd<2>; .reg .f32 %f<4>; ld.param.u64 %rd0, [p0];
    ld.global.f32 %f0, [%rd0]; ld.global.f32 %f1, [%rd0+4]; ld.global.f32 %f2, [%rd0+8];
    mul.f32 %f3, %f0, %f1; add.f32 %f3, %f3, %f2; st.global.f32 [%rd0], %f3;
    """
    code = sass(assemble(entry(body), "sm_90").cubin)
    assert "FMUL" in code
    assert "FADD" in code
    assert "FFMA" not in code
    fused = body.replace("mul.f32 %f3, %f0, %f1; add.f32 %f3, %f3, %f2;", "fma.rn.f32 %f3, %f0, %f1, %f2;")
    assert "FFMA" in sass(assemble(entry(fused), "sm_90").cubin)


@pytest.mark.parametrize("architecture", PTX_VERSIONS)
def test_hundreds_of_parameters(assembler, architecture):
    listed = ", ".join([f"ptr addrspace(1) %p{k}" for k in range(700)])
    text = f"define ptx_kernel void @k({listed}) {{\n  store i32 1, ptr addrspace(1) %p699\n  ret void\n}}\n"
    assert assemble(compile_ptx(text, architecture), architecture)["k"].registers
