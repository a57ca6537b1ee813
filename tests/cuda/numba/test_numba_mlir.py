"""What `graphad_kernels.cuda.mlir` makes of kernels for numba-cuda-mlir. `test_numba_kernels` compares results."""

from __future__ import annotations

import re
from importlib import import_module

import numpy as np
import pytest
from graphad_kernels.cuda import atomic, gemm, group, rounding
from graphad_kernels.cuda.compiler import compile_ptx
from graphad_kernels.cuda.group import block_sum
from graphad_kernels.math import helpers
from numba import cuda
from numba.core.typing.templates import builtin_registry
from numba.extending import intrinsic

from graphad.backends.cuda.numba.source import source
from graphad.backends.cuda.schedule.schedule import schedule
from tests.cuda.numba.models import arguments, loop_program, softmax

pytest.importorskip("numba_cuda_mlir")
package = import_module("numba_cuda_mlir.cuda")
mlir = import_module("graphad_kernels.cuda.mlir")
MEANINGS = import_module("graphad_kernels.cuda.mlir_operations").MEANINGS
LARGE = np.uint64(2**63)


def ptx(kernel, *dtypes, architecture="sm_90", **options):
    parameters = [(dtype, 4) for dtype in dtypes]
    return compile_ptx(kernel, "example", parameters, architecture, compiler="numba-cuda-mlir", **options)


def instructions(text):
    return re.findall(r"^\s*(?:@!?%p\d+ )?([a-z][\w.:]*)", text.split(".entry")[1], re.MULTILINE)


def test_all_that_is_declared_to_numba_has_a_meaning():
    assert set(helpers.HELPERS.values()) <= set(MEANINGS)
    intrinsics = [
        value for m in (atomic, group, rounding) for value in vars(m).values() if repr(value)[:10] == "<intrinsic"
    ]
    assert len(intrinsics) == 12
    assert set(intrinsics) <= set(MEANINGS)
    texts = {function for function, kind in builtin_registry.globals if by_types(function, kind)}
    assert texts == set(group.TEXTS)


def by_types(function, kind):
    """Whether a function of the kernels is declared with a text for each types of its arguments."""
    texts = [getattr(t, "_overload_func", None) for t in getattr(kind, "templates", ())]
    return any(t is not None and t.__module__ == group.__name__ for t in texts) and function not in MEANINGS


def test_a_module_for_the_package_differs_in_one_line():
    text = source(schedule(loop_program(softmax, arguments()[softmax])))
    line, there = re.findall(r"^(from numba import cuda)  # for numba-cuda-mlir: (.*)$", text, re.MULTILINE)[0]
    namespace = {}
    exec(text.replace(line, there), namespace)
    assert namespace["cuda"] is mlir
    assert namespace["cuda"].grid is package.grid
    kernel = namespace["softmax_0"]
    assert isinstance(kernel, type(package.jit(softmax)))
    assert "shfl.sync.bfly.b32" in instructions(ptx(kernel, "float32", "float32"))


def test_products_of_the_package():
    body = mlir.jit(device=True)(gemm.tiled(mlir, "f32", relu=True).py_func)

    @mlir.jit
    def kernel(a, b, c):
        body(4, 4, 4, a, 1, 1, b, 1, 1, c, 1, c)

    assert "bar.sync" in instructions(ptx(kernel, "float32", "float32", "float32"))


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_architectures_and_options(architecture):
    @cuda.jit
    def kernel(a, b, c):
        c[0] = a[0] * b[0] + c[0]

    names = ["float32"] * 3
    flushed = ptx(kernel, *names, architecture=architecture)
    assert f".target {architecture}" in flushed
    assert "add.rn.ftz.f32" in instructions(flushed)
    assert "fma" not in flushed
    kept = ptx(kernel, *names, architecture=architecture, flush_denormals=False)
    assert "add.rn.f32" in instructions(kept)
    assert "ftz" not in kept


def test_more_arrays_than_python_passes_one_by_one():
    names = [f"a{k}" for k in range(40)]
    namespace = {}
    exec(f"def kernel({', '.join(names)}):\n    a39[0] = {' + '.join([f'{n}[0]' for n in names])}", namespace)
    assert instructions(ptx(cuda.jit(namespace["kernel"]), *["int32"] * 40)).count("ld.global.u32") == 40


def test_functions_around_a_barrier_are_inlined():
    """Nothing tells the package which functions all threads call at once."""

    @cuda.jit
    def kernel(a):
        parts = cuda.shared.array(2, np.float32)
        a[cuda.threadIdx.x] = block_sum(a[cuda.threadIdx.x], parts)

    found = instructions(ptx(kernel, "float32"))
    assert "shfl.sync.bfly.b32" in found
    assert not [name for name in found if name.startswith("call")]


def test_constants_from_outside():
    with pytest.raises(
        TypeError, match=r"takes no constant like np\.uint64\(9223372036854775808\) from outside of a fun"
    ):
        ptx(cuda.jit(lambda a: a[LARGE]), "uint64")


def test_what_is_declared_to_numba_alone():
    @intrinsic
    def nothing(_typing, x):
        return x(x), lambda _context, _builder, _signature, args: args[0]

    @cuda.jit
    def kernel(a):
        a[0] = nothing(a[1])

    with pytest.raises(TypeError, match=r"<intrinsic nothing> is declared to Numba alone"):
        ptx(kernel, "float32")
