"""Modules for tests of runtimes: small kernels as LLVM text, and their PTX."""

from __future__ import annotations

from functools import lru_cache

from graphad.backends.cuda.ptx.nvptx import compile_ptx

HEAD = """
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.barrier0()
@tile = internal addrspace(3) global [64 x float] undef, align 16
"""

KERNEL = """
define ptx_kernel void @{name}(ptr addrspace(1) noalias align 4 %x, ptr addrspace(1) noalias align 4 %out) {{
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %w = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %m = mul i32 %b, %w
  %i = add i32 %m, %t
  %p = getelementptr float, ptr addrspace(1) %x, i32 %i
  %v = load float, ptr addrspace(1) %p
  %s = getelementptr [64 x float], ptr addrspace(3) @tile, i32 0, i32 %t
  store float %v, ptr addrspace(3) %s
  call void @llvm.nvvm.barrier0()
  %u = load float, ptr addrspace(3) %s
  %r = {op} float %u, {constant}
  %q = getelementptr float, ptr addrspace(1) %out, i32 %i
  store float %r, ptr addrspace(1) %q
  ret void
}}
"""


@lru_cache
def ptx(architecture="sm_90"):
    """``double_it`` and ``add_one``: ``out[i] = ...x[i]`` for float32, one element for each thread, blocks up to 64."""
    kernels = (
        KERNEL.format(name="double_it", op="fmul", constant="2.0"),
        KERNEL.format(name="add_one", op="fadd", constant="1.0"),
    )
    return compile_ptx(HEAD + "".join(kernels), architecture)
