"""Kernel -> PTX, by numba-cuda-mlir. Written against version 0.6."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from graphad_kernels.cuda.mlir import exchanged
from graphad_kernels.cuda.mlir_operations import cuda, package_module, types

_ARRAY: Final = "!llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>"  # what an array of one axis is made of


def compile_ptx(
    function: Callable[..., None],
    name: str,
    parameters: Sequence[tuple[str, int]],
    architecture: str,
    flush_denormals: bool,
) -> str:
    """`graphad_kernels.cuda.compiler.compile_ptx` of the kernel's Python function."""
    number = architecture.removeprefix("sm_")
    passes, nvvm = package_module("mlir_optimization"), package_module("numba_cuda.cudadrv.nvvm")
    manager = package_module("_mlir.passmanager").PassManager
    with _compiling_for(number), package_module("lowering_utilities.context").get_context():
        module = _module(function, name, parameters)
        manager.parse(passes.get_base_pipeline()).run(module.operation)
        passes.run_pre_codegen_patterns(module)
        if passes._needs_llvm70_path(number):
            text = passes._call_llvm70_capi(module, {"chip": architecture}, gen_llvmir=True)
        else:
            text = passes._prepare_llvm_ir(module)
    # Multiply-adds are fused where the text says so: the elementary functions rely on that.
    options = {"fma": False, "ftz": flush_denormals, "prec_div": True, "prec_sqrt": True}
    unit = nvvm.CompilationUnit({"arch": f"compute_{number}", "opt": 3, **options})
    unit.add_module(text)
    unit.lazy_add_module(nvvm.LibDevice().get())
    ptx: bytes = unit.compile()
    return ptx.decode().rstrip("\0\n") + "\n"


def _module(function: Callable[..., None], name: str, parameters: Sequence[tuple[str, int]]) -> Any:
    """The function in MLIR, and an entry that calls it."""
    ir, functions = package_module("_mlir.ir"), package_module("_mlir.dialects.func")
    body_name = f"{name}_body"
    arrays = [types.Array(getattr(types, "boolean" if d == "bool" else d), 1, "C") for d, _ in parameters]
    compiler = cuda.jit(device=True)(exchanged(function))
    compiled = compiler._compile_as_device_callee(types.void(*arrays), abi_name=body_name)
    module = compiled.cres.metadata["mlir_module"]
    (home,) = [op.bodyRegion.blocks[0] for op in module.body]
    (body,) = [op for op in home if isinstance(op, functions.FuncOp) and op.name.value == body_name]
    body.attributes["sym_visibility"] = ir.StringAttr.get("private")
    kinds = [str(kind) for kind in body.function_type.value.inputs]
    made = ir.Module.parse(_entry(name, body_name, kinds, [size for _, size in parameters]))
    (block,) = [op.bodyRegion.blocks[0] for op in made.body]
    _, entry = block
    home.append(entry.operation.clone())
    return module


def _entry(name: str, body: str, kinds: Sequence[str], sizes: Sequence[int]) -> str:
    """The text of a kernel that takes addresses, and calls ``body`` with arrays of these types in MLIR."""
    lines = ["%zero = llvm.mlir.constant(0 : i64) : i64", "%one = llvm.mlir.constant(1 : i64) : i64"]
    for k, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        parts = [(f"%p{k}", "0"), (f"%p{k}", "1"), ("%zero", "2"), (f"%size{k}", "3, 0"), ("%one", "4, 0")]
        lines.append(f"%size{k} = llvm.mlir.constant({size} : i64) : i64")
        lines.append(f"%d{k}_0 = llvm.mlir.undef : {_ARRAY}")
        for i, (part, at) in enumerate(parts):
            lines.append(f"%d{k}_{i + 1} = llvm.insertvalue {part}, %d{k}_{i}[{at}] : {_ARRAY}")
        lines.append(f"%a{k} = builtin.unrealized_conversion_cast %d{k}_{len(parts)} : {_ARRAY} to {kind}")
    pointers = ", ".join([f"%p{k}: !llvm.ptr" for k in range(len(kinds))])
    arguments = ", ".join([f"%a{k}" for k in range(len(kinds))])
    signature = f"({', '.join(kinds)}) -> ()"
    lines.append(f"func.call @{body}({arguments}) : {signature}")
    kernel = "\n".join([f"gpu.func @{name}({pointers}) kernel {{", *lines, "gpu.return", "}"])
    return f"gpu.module @made {{\nfunc.func private @{body}{signature}\n{kernel}\n}}"


@contextmanager
def _compiling_for(number: str) -> Generator[None]:
    """Code is compiled for the GPU at hand: give the package one of this capability."""
    tools = package_module("tools")
    before, tools._cached_cc = tools._cached_cc, (int(number[:-1]), int(number[-1]))
    try:
        yield
    finally:
        tools._cached_cc = before
