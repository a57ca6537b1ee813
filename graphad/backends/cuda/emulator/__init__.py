"""A CUDA device without a GPU: runs PTX on the CPU, and checks memory accesses, data races and barriers.

`Memory` is the device's memory, `Module` a text of PTX with its kernels, `launch` runs one and reports what it did.
Threads are computed together in NumPy arrays, with the hardware's rounding. Memory that is read by ``ld.global.nc``
must not be written, and a kernel must keep to the limits of its architecture. Unsupported instructions, as those of
tensor cores and textures, are refused by name when a module is decoded.

>>> memory = Memory()
>>> address = memory.allocate(8)
>>> memory.view(address, 8).view("f4")[:] = [1.0, 2.0]
>>> module = Module('''
... .version 8.0
... .target sm_90
... .address_size 64
... .visible .entry double(.param .u64 x) {
...     .reg .b64 %rd<4>; .reg .b32 %r<2>; .reg .f32 %f<3>;
...     ld.param.u64 %rd1, [x];
...     mov.u32 %r1, %tid.x;
...     mul.wide.u32 %rd2, %r1, 4;
...     add.s64 %rd3, %rd1, %rd2;
...     ld.global.f32 %f1, [%rd3];
...     add.f32 %f2, %f1, %f1;
...     st.global.f32 [%rd3], %f2;
...     ret;
... }''')
>>> report = launch(module.kernels["double"], memory, (1, 1, 1), (2, 1, 1), 0, (address,))
>>> memory.view(address, 8).view("f4").tolist(), report.global_read_bytes
([2.0, 4.0], 8)
"""

from __future__ import annotations

from graphad.backends.cuda.emulator.faults import EmulatorError
from graphad.backends.cuda.emulator.launching import Kernel, LaunchReport, Module, launch
from graphad.backends.cuda.emulator.machine.memory import Memory

__all__ = ["EmulatorError", "Kernel", "LaunchReport", "Memory", "Module", "launch"]
