"""The stages of programs for a GPU: `device`, `ptx`, `sass`, and `source` and `llvm` of it; `graphad explain`."""

from __future__ import annotations

import re

import pytest

import graphad.numpy as gnp
from graphad import inspection, nn
from graphad.backends.cuda import emulator, toolkit
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS
from graphad.cli import main
from graphad.errors import DeviceError, LoweringError

MODEL = """
import graphad.numpy as gnp

def loss(w, x):
    return gnp.sum(gnp.tanh(x * w))

def product(a, b):
    return gnp.exp(a @ b)
"""
ARGS = inspection.parse_arguments("f32[8,128]")


@pytest.fixture
def model(module_file):
    """The path of a file with functions to look into."""
    return module_file("gpu_model", MODEL)


@pytest.fixture
def show(capsys):
    """Run the command line in this process; its status and what it wrote."""

    def run(*argv):
        status = main(list(argv))
        out, err = capsys.readouterr()
        assert (status == 0) == (err == "")
        return out or err

    return run


def text(stage, **options):
    return inspection.stage_text(nn.softmax, ARGS, stage, **options)


def test_the_launches(show, model):
    said = show("inspect", f"{model}:loss", "--args", "f32[128], f32[8,128]", "--stage", "device")
    arguments, results = "in0: f32[128], in1: f32[1024]", "out0: f32[1], out1: f32[128]"
    assert said.startswith(f"device program @loss_adjoint({arguments}) -> ({results})\n")
    assert re.search(
        r"^  bundle loss_adjoint_0: .* in \d+ blocks? of \d+ threads.* ; gpu_model\.py:5\n", said, re.MULTILINE
    )
    of = show("inspect", f"{model}:loss", "--args", "f32[128], f32[8,128]", "--stage", "device", "--of", "simplified")
    assert "-> (out0: f32[1])" in of.splitlines()[0]
    batched = show(
        "inspect", f"{model}:loss", "--args", "f32[128], f32[8,128]", "--stage", "device", "--of", "batched",
        "--batch-size", "3", "--in-axes", "None, 0",
    )  # fmt: skip
    assert "in1: f32[3072]" in batched.splitlines()[0]


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_ptx(architecture):
    ptx = text("ptx", architecture=architecture)
    assert f".target {architecture}" in ptx
    assert list(emulator.Module(ptx).kernels) == ["softmax_0"]


def test_ptx_names_the_users_lines(show, model):
    said = show("inspect", f"{model}:loss", "--args", "f32[128], f32[8,128]", "--stage", "ptx")
    assert ".target sm_90" in said
    assert re.search(r'^\s*\.file\s+\d+ .*gpu_model\.py"', said, re.MULTILINE)


def test_other_stages_of_a_program_for_a_gpu(show):
    inspect = ["inspect", "graphad.nn:softmax", "--args", "f32[8,128]", "--device", "cuda", "--stage"]
    assert "@cuda.jit" in show(*inspect, "source")
    assert "define ptx_kernel void @softmax_0" in show(*inspect, "llvm")
    assert show(*inspect, "loops") == show(*inspect[:4], "--stage", "loops")
    assert show(*inspect, "simplified") == show(*inspect[:4])


def test_products_of_a_library_are_named(show, model):
    product = ["inspect", f"{model}:product", "--args", "f32[8,128], f32[128,3]", "--stage", "ptx"]
    library = show(*product)
    assert re.match(r"// gemm f32 .* = .* @ .*: computed by cuBLASLt; for the device cuda:emulated it is a", library)
    own = show(*product, "--device", "cuda:emulated")
    assert "cuBLASLt" not in own
    assert [len(emulator.Module(ptx).kernels) for ptx in (library, own)] == [1, 2]


def test_differences_between_stages(show):
    diff = ["inspect", "graphad.nn:relu", "--args", "f32[8,128]", "--diff"]
    assert show(*diff, "device", "ptx").startswith("--- device\n+++ ptx\n@@ ")
    assert show(*diff, "loops", "device").startswith("--- loops\n+++ device\n@@ ")
    assert show(*diff, "traced", "simplified", "--device", "cuda").startswith("--- traced")
    assert show(*diff, "ptx", "ptx", "--arch", "sm_80") == "--- ptx\n+++ ptx\n"


def test_colours_leave_the_text_alone(show):
    for stage in ("device", "ptx"):
        inspect = ["inspect", "graphad.nn:relu", "--args", "f32[8]", "--stage", stage]
        painted = show(*inspect, "--color", "always")
        assert "\x1b[" in painted
        bare = re.sub(r"\x1b\[[\d;]*m", "", painted)
        assert bare.split() == show(*inspect).split()


def test_sass_needs_the_disassembler(monkeypatch, show):
    def missing():
        toolkit.unavailable("The disassembler")

    monkeypatch.setattr(toolkit, "nvjitlink", missing)
    monkeypatch.setattr(toolkit, "disassembler", missing)
    with pytest.raises(DeviceError, match=r"not available\. Looked for .*pip install graphad\[cuda\]"):
        text("sass", architecture="sm_89")
    said = show("inspect", "graphad.nn:softmax", "--args", "f32[9,128]", "--stage", "sass")
    assert said.startswith("graphad inspect: error: The disassembler is not available. Looked for the driver")
    assert said.count("\n") == 1


def test_sass():
    try:
        toolkit.nvjitlink()
        toolkit.disassembler()
    except DeviceError as error:
        pytest.skip(str(error))
    for architecture in ("sm_75", "sm_90"):
        said = text("sass", architecture=architecture)
        assert f".target\t{architecture}" in said
        assert ".text.softmax_0:" in said
        assert "MUFU.EX2" in said or "FFMA" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "ptx", "--arch", "sm_91"], f"architectures are {', '.join(PTX_VERSIONS)}"),
        (["--stage", "ptx", "--device", "cpu"], "device cpu have no ptx; their stages are loops, source, llvm, asm"),
        (["--stage", "asm", "--device", "cuda"], "device cuda:0 have no asm; their stages are loops, device, source,"),
        (["--stage", "loops", "--arch", "sm_90"], "the architecture 'sm_90' is that of a GPU"),
        (["--stage", "loops", "--device", "tpu"], "there is no device 'tpu'; devices are 'cpu', 'cuda'"),
        (["--stage", "device", "--after", "inline"], "device is made of a graph after all passes"),
    ],
)
def test_wrong_options_take_one_line(options, message, show):
    said = show("inspect", "graphad.nn:relu", "--args", "f32[8]", *options)
    assert said.startswith("graphad inspect: error: ")
    assert message in said
    assert said.count("\n") == 1


def test_no_architecture_is_guessed():
    with pytest.raises(LoweringError, match="no code can be generated for 'hopper'"):
        inspection.explain(gnp.exp, ARGS, device="cuda", architecture="hopper")


# --- graphad explain


def test_explain(show, model):
    explain = ["explain", f"{model}:loss", "--args", "f32[128], f32[8,128]"]
    said = show(*explain)
    assert said.startswith("loss_adjoint on the CPU: ")
    assert "gpu_model.py:5" in said
    assert show(*explain, "--device", "cuda").startswith("loss_adjoint on sm_90: ")
    assert show(*explain, "--device", "cuda:emulated", "--of", "simplified").startswith("loss on an emulated sm_90: ")
    assert show(*explain, "--device", "cuda", "--arch", "sm_80").startswith("loss_adjoint on sm_80: ")
    assert show(*explain, "--of", "batched", "--batch-size", "3").startswith("loss_batched on the CPU: ")


def test_explain_is_that_of_python(show, model):
    said = show("explain", f"{model}:loss", "--args", "f32[128], f32[8,128]", "--device", "cuda", "--argnums", "0,1")
    fun = inspection.load_function(f"{model}:loss")
    args = inspection.parse_arguments("f32[128], f32[8,128]")
    assert said == repr(inspection.explain(fun, args, argnums=(0, 1), device="cuda")) + "\n"


def test_explain_of_a_graph_in_a_file(show, model, tmp_path):
    path = tmp_path / "loss.graph"
    path.write_text(show("inspect", f"{model}:loss", "--args", "f32[128], f32[8,128]"))
    said = show("explain", str(path), "--of", "simplified", "--device", "cuda")
    assert said.startswith("loss on sm_90: ")
    assert "gpu_model.py:5" in said


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["graphad.nn:rely"], "graphad.nn has no function rely. Did you mean 'relu'"),
        (["graphad.nn:relu", "--args", "f32[8"], "--args, column 1"),
        (["graphad.nn:relu", "--args", "f32[8]", "--arch", "sm_90"], "the architecture 'sm_90' is that of a GPU"),
        (["graphad.nn:relu", "--args", "f32[8]", "--device", "gpu"], "there is no device 'gpu'"),
        (
            ["graphad.nn:relu", "--args", "f32[8]", "--device", "cuda", "--arch", "90"],
            "no code can be generated for '90'",
        ),
    ],
)
def test_explain_of_wrong_input_takes_one_line(argv, message, show):
    said = show("explain", *argv)
    assert said.startswith("graphad explain: error: ")
    assert message in said
    assert said.count("\n") == 1
