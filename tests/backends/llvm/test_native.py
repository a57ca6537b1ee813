"""Compiling, loading and finding routines on this machine."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest

from graphad.backends.llvm import library, native
from graphad.backends.routines import addresses
from graphad.config import config
from graphad.errors import LoweringError
from tests.backends.loading import load
from tests.threads import side_by_side

ANSWER = "define i64 @answer(ptr %T) {\n  ret i64 42\n}\n"


def call(loaded):  # an Executable, as its address is worth nothing without it
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loaded.address)(None)


def test_load_runs_and_prints():
    loaded = load(ANSWER, "answer")
    assert call(loaded) == 42
    assert repr(loaded).startswith("<Executable answer at 0x")


def test_the_second_load_compiles_nothing(tmp_path, monkeypatch):
    with config.override(cache_dir=str(tmp_path)):
        load(ANSWER, "answer")
        monkeypatch.setattr(native, "compile_object", None)
        assert call(load(ANSWER, "answer")) == 42
        with pytest.raises(TypeError):
            load(ANSWER, "answer", opt=2)  # other code


def test_a_damaged_object_on_disk_is_compiled_again(tmp_path):
    with config.override(cache_dir=str(tmp_path)):
        load(ANSWER, "answer")
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:-5])
        assert call(load(ANSWER, "answer")) == 42


def test_assembly_is_readable():
    assert "answer:" in native.assembly(ANSWER)


def test_imports_are_bound():
    text = "declare i64 @other(ptr)\ndefine i64 @go(ptr %T) {\n  %r = call i64 @other(ptr %T)\n  ret i64 %r\n}\n"
    answer = load(ANSWER, "answer")
    assert call(load(text, "go", imports={"other": answer.address})) == 42


def test_errors_say_what_is_wrong(monkeypatch):
    def no_scipy(name):
        raise ImportError("no SciPy here")

    with pytest.raises(LoweringError, match=r"(?s)LLVM rejects the text.*expected value"):
        load("define i64 @f(ptr %T) { ret i32 }", "f")
    unresolved = "declare i64 @nowhere_to_be_found()\ndefine i64 @f(ptr %T) {\n  %r = call i64 @nowhere_to_be_found()\n"
    with pytest.raises(LoweringError, match="cannot load f: "):
        load(unresolved + "  ret i64 %r\n}\n", "f")
    with pytest.raises(LoweringError, match="no external routine 'zgemm'; programs may call sgemm"):
        addresses.blas_routine("zgemm")
    monkeypatch.setattr(addresses.library, "routine", no_scipy)
    with pytest.raises(LoweringError, match="no SciPy here"):
        addresses.blas_routine.__wrapped__("dgemm")
    with pytest.raises(ValueError, match="GRAPHAD_VECTOR_BYTES is '48'; it may be 16, 32 or 64"):
        library.describe("x", "", "48")


def test_describe_reads_the_features():
    x86 = library.host().x86
    assert library.describe("x", "+sse2").vector_bytes == 16
    assert library.describe("x", "+avx2,+fma").vector_bytes == 32
    assert library.describe("x", "+avx2,+fma,+avx512f").vector_bytes == 64
    assert library.describe("x", "+avx2,-avx512f", "16").vector_bytes == 16
    if x86:
        assert library.describe("x", "+avx2,+fma").fma
        assert not library.describe("x", "+avx2,-fma").fma


def test_programs_load_and_die_in_threads():
    problems = []

    def work(number):
        for i in range(10):
            text = f"define i64 @f(ptr %T) {{\n  ret i64 {100 * number + i}\n}}\n"
            if call(load(text, "f")) != 100 * number + i:
                problems.append((number, i))
        gc.collect()

    side_by_side(work)
    assert problems == []


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_processes_end_cleanly_with_programs_loaded():
    code = (
        "from tests.backends.loading import function_address, load; from graphad.backends.llvm import library; "
        f"kept = [load({ANSWER!r}, 'answer') for _ in range(3)]; function_address('sin', 'f32', 4); del library"
    )
    result = python(code)
    assert (result.returncode, result.stderr) == (0, "")


def test_llvmlite_is_imported_late():
    modules = "graphad.backends.llvm.native, graphad.backends.llvm.loader, graphad.backends.cpu.entry.make"
    code = f"import sys, {modules}; assert 'llvmlite' not in sys.modules"
    assert python(code).returncode == 0


def test_the_environment_names_another_cpu():
    code = (
        "import os; os.environ['GRAPHAD_CPU'] = 'generic'; from graphad.backends.llvm import library; "
        "from tests.backends.loading import function_address; h = library.host(); "
        "assert h.vector_bytes == 16 and h.cpu == 'generic', h; function_address('sin', 'f64', 2)"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr
    unknown = (
        "import os; os.environ['GRAPHAD_VECTOR_BYTES'] = '7'; from graphad.backends.llvm import library; library.host()"
    )
    assert "it may be 16, 32 or 64" in python(unknown).stderr
