"""Runs pieces of PTX on arrays, one thread an element, and modules made by LLVM."""

from __future__ import annotations

import numpy as np

from graphad.backends.cuda.emulator import Memory, Module, launch

HEAD = ".version 8.6\n.target sm_90\n.address_size 64\n"


def upload(memory, array):
    """Address of a copy of an array on the device."""
    array = np.ascontiguousarray(array)
    address = memory.allocate(array.nbytes)
    memory.view(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
    return address


def download(memory, address, like):
    """A copy of an array on the device, of the shape and type of another."""
    like = np.asarray(like)
    return memory.view(address, like.nbytes, read_only=True).view(like.dtype).reshape(like.shape).copy()


def entry(body, parameters=("u64",), name="k", before=""):
    """Text of a module with one kernel; its parameters are p0, p1, ..."""
    listed = ", ".join(f".param .{type_} p{i}" for i, type_ in enumerate(parameters))
    return f"{HEAD}{before}\n.visible .entry {name}({listed})\n{{\n{body}\nret;\n}}\n"


def run(body, arrays, *, grid=(1, 1, 1), block=(32, 1, 1), shared=0, before="", checks=True, memory=None, scalars=()):
    """Run a kernel over copies of arrays, whose addresses are p0, p1, ...; what they hold then, and the report."""
    memory = memory or Memory()
    addresses = [upload(memory, array) for array in arrays]
    types = ["u64"] * len(arrays) + [type_ for type_, _ in scalars]
    kernel = Module(entry(body, types, before=before)).kernels["k"]
    arguments = (*addresses, *(value for _, value in scalars))
    report = launch(kernel, memory, grid, block, shared, arguments, checks=checks)
    return [download(memory, a, array) for a, array in zip(addresses, arrays, strict=True)], report


def elementwise(code, inputs, out, registers=""):
    """``%o`` after `code` for each element of inputs ``%a``, ``%b``, ...; `out` is the dtype of the result."""
    inputs = [np.asarray(x) for x in inputs]
    n = len(inputs[0])
    result = np.zeros(n, out)
    lines = [
        ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>;",
        f".reg .b{8 * max(result.itemsize, 2)} %o; {registers}",
        "mov.u32 %r10, %ctaid.x; mov.u32 %r11, %ntid.x; mov.u32 %r12, %tid.x; mad.lo.s32 %r13, %r10, %r11, %r12;",
        f"setp.ge.u32 %p8, %r13, {n}; @%p8 bra DONE;",
    ]
    for i, (letter, x) in enumerate(zip("abcdef", inputs, strict=False)):
        bits = 8 * x.itemsize
        lines += [
            f".reg .b{max(bits, 16)} %{letter}; ld.param.u64 %rd10, [p{i}];",
            f"mul.wide.u32 %rd11, %r13, {x.itemsize}; add.s64 %rd12, %rd10, %rd11;",
            f"ld.global.{'u' if x.dtype.kind != 'i' else 's'}{bits} %{letter}, [%rd12];",
        ]
    lines += [
        code,
        f"ld.param.u64 %rd10, [p{len(inputs)}]; mul.wide.u32 %rd11, %r13, {result.itemsize};",
        f"add.s64 %rd12, %rd10, %rd11; st.global.b{8 * result.itemsize} [%rd12], %o;",
        "DONE:",
    ]
    arrays, _ = run("\n".join(lines), [*inputs, result], grid=(-(-n // 64), 1, 1), block=(64, 1, 1))
    return arrays[-1]


def predicate(code, inputs):
    """``%p1`` after `code`, for each element."""
    return elementwise(f"{code}\nselp.u32 %o, 1, 0, %p1;", inputs, np.uint32).astype(bool)


def same(result, expected):
    """Equal bit by bit, nan being equal to nan of any payload."""
    result, expected = np.asarray(result), np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    if result.dtype.kind == "f":
        nan = np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(result), nan)
        result, expected = result[~nan], expected[~nan]
    word = f"u{result.dtype.itemsize}"
    bad = np.flatnonzero(result.view(word) != expected.view(word))
    assert not len(bad), f"{result[bad[:5]]} instead of {expected[bad[:5]]} at {bad[:5]}"
