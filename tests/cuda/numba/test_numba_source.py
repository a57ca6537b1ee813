"""The text of kernels in Numba source: what a person reads. Nothing here needs numba-cuda."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from dataclasses import replace
from importlib import import_module

import pytest
from graphad_kernels.cuda.compiler import COMPILERS

from graphad.backends.cuda.numba.adapter import ptx
from graphad.backends.cuda.numba.kernel import DEVICE_FUNCTIONS
from graphad.backends.cuda.numba.source import source
from graphad.backends.cuda.program.ir import Bundle
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Copy, Gemm, GuardStep, Let, Load, Matrix, Store
from graphad.errors import DeviceError, LoweringError
from graphad.ir.loc import format_loc
from graphad.ir.types import b1, f16, f32
from tests.cuda.emit.harness import at, axes, buffers, kernel, lit, program, spread
from tests.cuda.emit.programs import affine
from tests.cuda.numba.models import arguments, loop_program
from tests.cuda.programs import for_device, programs


def text_of(name):
    return source(schedule(for_device(name)[0]))


def product_of(step):
    """The name of the function for a matrix product."""
    return "gemm_f32" + "_bias" * (step.bias is not None) + "_relu" * step.relu


@pytest.mark.parametrize(("function", "args"), arguments().items(), ids=lambda value: getattr(value, "__name__", ""))
def test_golden(function, args, golden):
    golden(f"cuda_numba_{function.__name__}.txt", source(schedule(loop_program(function, args))))


@pytest.mark.parametrize("name", programs())
def test_the_text_is_a_module_of_kernels_and_their_launches(name):
    device = schedule(for_device(name)[0])
    text = source(device)
    tree = ast.parse(text)
    functions = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    bundles = [s for s in device.steps if isinstance(s, Bundle)]
    parts = {p.name for b in bundles for p in b.parts}
    written = [k for k in (*device.kernels, *bundles) if k.name in functions]
    assert {k.name for k in device.launches} <= set(functions)
    launch = ast.unparse(functions[device.name])
    for k in written:
        kind = "cuda.jit(device=True)" if k.name in parts else "cuda.jit"
        assert [ast.unparse(d) for d in functions[k.name].decorator_list] == [kind]
        launched = re.search(rf"\b{k.name}\[{k.blocks}, {k.threads}, stream(, \d+)?\]\(", launch)
        assert (launched is None) == (k.name in parts)
    for b in bundles:
        called = re.findall(r"\w+(?=\(block\b)", ast.unparse(functions[b.name]))
        assert len(called) == len(b.parts)
        assert set(called) <= parts & set(functions)
    steps = [product_of(s) if isinstance(s, Gemm) else s.name for s in device.steps if not isinstance(s, Copy)]
    assert re.findall(r"^    (\w+)[\[(].*stream", launch, re.MULTILINE) == steps


@pytest.mark.parametrize("name", programs())
def test_every_name_is_defined_and_every_import_used(name):
    tree = ast.parse(text_of(name))
    made = {a.asname or a.name for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    imported = set(made)
    made |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    made |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    made |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert used <= made | set(vars(builtins))
    assert imported <= used | {"np"}


@pytest.mark.parametrize("name", programs())
def test_lines_are_neat_and_name_the_users(name):
    device = schedule(for_device(name)[0])
    lines = source(device).splitlines()
    assert all(line == line.rstrip() and "\t" not in line for line in lines)
    locs = {format_loc(s.loc) for k in device.kernels for s in k.body} - {""}
    locs |= {format_loc(s.loc) for s in device.steps if isinstance(s, Gemm)}
    assert locs
    for loc in locs:
        assert any(line.endswith(f"  # {loc}") for line in lines), loc


def test_every_device_function_exists():
    modules = [import_module(f"graphad_kernels.cuda.{name}") for name in ("group", "rounding")]
    made_in_the_source = {name for name in DEVICE_FUNCTIONS if name.startswith(("atomic_", "gemm_"))}
    for name in DEVICE_FUNCTIONS - made_in_the_source:
        assert any(hasattr(module, name) for module in modules), name


def test_names_that_mean_something_else_get_another():
    names = ("np", "cuda", "thread", "warp_sum")
    body = [Load("lambda", "np", at(j=1)), Let("sqrt", f32, "sqrt", ("lambda",)), Store("cuda", at(j=1), "sqrt")]
    p = program(
        buffers("input", np=(f32, 64)),
        buffers("output", cuda=(f32, 64), thread=(f32, 1)),
        kernel((), spread(body, j=64), Store("thread", at(), lit(1.0, f32)), uses=["np", "cuda", "thread"], group=32),
    )
    text = source(p)
    assert "def example(np_, cuda_, thread):" in text
    assert "thread_ = cuda.threadIdx.x % 32" in text
    assert "sqrt_ = sqrt(lambda_)" in text
    assert not {n.arg for n in ast.walk(ast.parse(text)) if isinstance(n, ast.arg)} & {*names} - {"thread"}


def test_blocks_that_are_not_full_leave_early():
    assert "if point >= 201:\n        return" in source(affine(3, 67, f32, 1, threads=64))
    assert "return" not in source(affine(4, 64, f32, 1, threads=64)).split("def p(")[0]


def test_a_group_of_part_of_a_warp_names_its_threads():
    k = kernel(axes(i=5), spread([Load("a", "x", at(j=1))], j=9), uses=["x"], group=8, threads=32)
    text = source(program(buffers("input", x=(f32, 9)), k))
    assert "i = cuda.grid(1) // 8" in text
    assert "for j in range(thread, 9, 8):" in text


def test_errors_say_what_is_known(monkeypatch):
    p = affine(4, 64, f32, 1)
    with pytest.raises(LoweringError, match=r"p has no kernel exmaple\. Did you mean 'example'\?"):
        ptx(p, "exmaple")
    with pytest.raises(LoweringError, match=r"no code can be generated for the architecture 'sm_9'"):
        ptx(p, "example", "sm_9")
    with pytest.raises(ValueError, match=r"no compiler 'nvcc' of kernels in Numba source, but numba-cuda and numba-c"):
        ptx(p, "example", compiler="nvcc")
    for package, _ in COMPILERS.values():
        monkeypatch.setitem(sys.modules, package, None)
    extras = r"pip install graphad\[cuda-numba\]` .*pip install graphad\[cuda-numba-mlir\]`"
    with pytest.raises(DeviceError, match=rf": numba-cuda and numba-cuda-mlir: not installed\. `{extras}"):
        ptx(p, "example")
    with pytest.raises(DeviceError, match=rf": numba-cuda-mlir: not installed\. `{extras}"):
        ptx(p, "example", compiler="numba-cuda-mlir")


def test_products_say_what_they_add():
    a, b, c = Matrix("a", 4, 5), Matrix("b", 0, 5, True), Matrix("c", 0, 7)
    g = Gemm(f32, 3, 7, 5, a, b, c, batch=2, a_step=15, b_step=35, c_step=21, bias="v", bias_offset=2, relu=True)
    inputs = buffers("input", a=(f32, 34), b=(f32, 70), v=(f32, 9))
    text = source(program(inputs, buffers("output", c=(f32, 42)), g))
    assert 'gemm_f32_bias_relu = gemm(cuda, "f32", bias=True, relu=True)' in text
    assert "    for member in range(2):" in text
    call = next(line for line in text.splitlines() if "gemm_f32_bias_relu(3" in line)
    assert call.split("(3, 7, 5, ")[1] == (
        "(a, 15 * member + 4, 5, False), (b, 35 * member, 5, True), (c, 21 * member, 7), stream, v[2:])"
    )


def test_products_say_what_they_make():
    g = Gemm(f16, 3, 7, 5, Matrix("a", 0, 5), Matrix("b", 0, 7), Matrix("c", 0, 7), result=f32)
    inputs = buffers("input", a=(f16, 15), b=(f16, 35))
    text = source(program(inputs, buffers("output", c=(f32, 21)), g))
    assert 'gemm_f16_f32 = gemm(cuda, "f16", result="f32")' in text
    assert "    # gemm f16 to f32 c[3,7; row 7] = a[3,5; row 5] @ b[5,7; row 7]" in text
    same = source(program(inputs, buffers("output", c=(f16, 21)), replace(g, result=None)))
    assert 'gemm_f16 = gemm(cuda, "f16")' in same


def test_guards_and_copies_are_steps():
    p = program(
        buffers("input", x=(b1, 1), y=(f32, 3)),
        buffers("output", z=(f32, 3), seen=(b1, 1)),
        Copy("seen", "x"),
        GuardStep(2, "seen", lit(True, b1), loc="model.py:9"),
        Copy("z", "y"),
    )
    launch = source(p).split('"""All launches, in order."""\n')[1].splitlines()
    assert launch == [
        "    seen.copy_to_device(x, stream=stream)",
        "    if seen[0] != True:  # model.py:9",
        "        return 3  # model.py:9",
        "    z.copy_to_device(y, stream=stream)",
        "    return 0",
    ]
