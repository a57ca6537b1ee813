"""Compiling, loading and finding routines on this machine."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import numpy as np
import pytest

from graphad.backends.llvm import native
from graphad.backends.routines import addresses
from graphad.config import config
from graphad.errors import LoweringError
from tests.threads import side_by_side

ANSWER = "define i64 @answer(ptr %T) {\n  ret i64 42\n}\n"


def call(loaded):  # an Executable, as its address is worth nothing without it
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loaded.address)(None)


def test_load_runs_and_prints():
    loaded = native.load(ANSWER, "answer")
    assert call(loaded) == 42
    assert repr(loaded).startswith("<Executable answer at 0x")


def test_the_second_load_compiles_nothing(tmp_path, monkeypatch):
    with config.override(cache_dir=str(tmp_path)):
        native.load(ANSWER, "answer")
        monkeypatch.setattr(native, "compile_object", None)
        assert call(native.load(ANSWER, "answer")) == 42
        with pytest.raises(TypeError):
            native.load(ANSWER, "answer", opt=2)  # other code


def test_a_damaged_object_on_disk_is_compiled_again(tmp_path):
    with config.override(cache_dir=str(tmp_path)):
        native.load(ANSWER, "answer")
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:-5])
        assert call(native.load(ANSWER, "answer")) == 42


def test_assembly_is_readable():
    assert "answer:" in native.assembly(ANSWER)


def test_imports_are_bound():
    text = "declare i64 @other(ptr)\ndefine i64 @go(ptr %T) {\n  %r = call i64 @other(ptr %T)\n  ret i64 %r\n}\n"
    answer = native.load(ANSWER, "answer")
    assert call(native.load(text, "go", imports={"other": answer.address})) == 42


def test_errors_say_what_is_wrong():
    with pytest.raises(LoweringError, match=r"(?s)LLVM rejects the text.*expected value"):
        native.load("define i64 @f(ptr %T) { ret i32 }", "f")
    unresolved = "declare i64 @nowhere_to_be_found()\ndefine i64 @f(ptr %T) {\n  %r = call i64 @nowhere_to_be_found()\n"
    with pytest.raises(LoweringError, match="cannot load f: it calls nowhere_to_be_found, found nowhere"):
        native.load(unresolved + "  ret i64 %r\n}\n", "f")
    with pytest.raises(LoweringError, match="no external routine 'zgemm'; programs may call sgemm"):
        addresses.blas_routine("zgemm")
    with pytest.raises(ValueError, match="GRAPHAD_VECTOR_BYTES is '48'; it may be 16, 32 or 64"):
        native.describe("x", "", "48")


def test_describe_reads_the_features():
    x86 = native.host().x86
    assert native.describe("x", "+sse2").vector_bytes == 16
    assert native.describe("x", "+avx2,+fma").vector_bytes == 32
    assert native.describe("x", "+avx2,+fma,+avx512f").vector_bytes == 64
    assert native.describe("x", "+avx2,-avx512f", "16").vector_bytes == 16
    if x86:
        assert native.describe("x", "+avx2,+fma").fma
        assert not native.describe("x", "+avx2,-fma").fma


def test_programs_load_and_die_in_threads():
    problems = []

    def work(number):
        for i in range(10):
            text = f"define i64 @f(ptr %T) {{\n  ret i64 {100 * number + i}\n}}\n"
            if call(native.load(text, "f")) != 100 * number + i:
                problems.append((number, i))
        gc.collect()

    side_by_side(work)
    assert problems == []


def test_blas_routines_multiply(rng):
    for name, real in (("sgemm", np.float32), ("dgemm", np.float64)):
        a, b = (rng.normal(size=(3, 3)).astype(real) for _ in range(2))
        c = np.empty((3, 3), real)
        n, one, zero = ctypes.c_int(3), np.ones(1, real), np.zeros(1, real)
        pointer = [ctypes.c_void_p(x.ctypes.data) for x in (one, a, b, zero, c)]
        size = ctypes.byref(n)
        gemm = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(addresses.blas_routine(name))
        # row-major a @ b is column-major b^T a^T
        gemm(b"N", b"N", size, size, size, pointer[0], pointer[2], size, pointer[1], size, pointer[3], pointer[4], size)
        assert np.allclose(c, a @ b, rtol=1e-5)
    assert len({addresses.blas_routine(name) for name in addresses.BLAS_ROUTINES}) == len(addresses.BLAS_ROUTINES)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_blas_addresses_leave_scipy_usable_and_unimported():
    code = (
        "import sys; from graphad.backends.routines import addresses; address = addresses.blas_routine('dgemm'); "
        "assert 'scipy.linalg' not in sys.modules; "
        "import scipy.linalg, scipy.linalg.cython_blas; import numpy as np; "
        "assert np.allclose(scipy.linalg.solve(np.eye(2) * 2, np.ones(2)), 0.5); "
        "assert address and addresses.blas_routine('sgemm')"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_processes_end_cleanly_with_programs_loaded():
    code = (
        f"from graphad.backends.llvm import native; kept = [native.load({ANSWER!r}, 'answer') for _ in range(3)]; "
        "native._loader().math_addresses(['ga_sin_f32x4']); del native"
    )
    result = python(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_llvmlite_is_imported_late():
    modules = "graphad.backends.llvm.native, graphad.backends.cpu.entry.make"
    code = f"import sys, {modules}; assert 'llvmlite' not in sys.modules"
    assert python(code).returncode == 0


def test_the_environment_names_another_cpu():
    code = (
        "import os; os.environ['GRAPHAD_CPU'] = 'generic'; from graphad.backends.llvm import native; "
        "h = native.host(); assert h.vector_bytes == 16 and h.cpu == 'generic', h; "
        "native._loader().math_addresses(['ga_sin_f64x2'])"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr
    unknown = (
        "import os; os.environ['GRAPHAD_VECTOR_BYTES'] = '7'; from graphad.backends.llvm import native; native.host()"
    )
    assert "it may be 16, 32 or 64" in python(unknown).stderr
