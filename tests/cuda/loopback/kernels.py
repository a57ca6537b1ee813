"""Calls of the driver: machine code, launches, captured graphs. The names and the arguments are those of cuda.h.

Machine code is PTX behind a head that says for which GPUs it is (`image`), or what the assembler has made of PTX, where
the test has noted that in `ASSEMBLED`.
"""

from __future__ import annotations

import ctypes
import struct
import threading

from graphad.backends.cuda import emulator
from tests.cuda.loopback.library import U64, Handle, Int, Name, To, UInt, entry
from tests.cuda.loopback.machine import (
    CAPTURE_INVALIDATED,
    CAPTURE_UNSUPPORTED,
    CAPTURE_WRONG_THREAD,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_VALUE,
    NO_BINARY,
    NOT_FOUND,
    NOT_SUPPORTED,
    RELAXED,
    SHARED_AT_MOST,
    Capture,
    Failure,
    Function,
    Graph,
    Module,
    demand,
    machine,
)

# ---- machine code

_MAGIC = b"\x7fELF loopback\0\0\0"
_HEAD = struct.Struct("<16sQ16s")


def image(ptx, architecture):
    """What stands for the machine code of a module of PTX."""
    text = ptx.encode()
    return _HEAD.pack(_MAGIC, len(text), architecture.encode()) + text


#: Of real machine code: the PTX and the architecture it was made from and for.
ASSEMBLED: dict[bytes, tuple[str, str]] = {}


def _read(address):
    """The PTX and the architecture of machine code."""
    magic, size, architecture = _HEAD.unpack(ctypes.string_at(address, _HEAD.size))
    if magic == _MAGIC:
        return ctypes.string_at(address + _HEAD.size, size).decode(), architecture.rstrip(b"\0").decode()
    for code, made in ASSEMBLED.items():
        if ctypes.string_at(address, _HEAD.size) == code[: _HEAD.size] and ctypes.string_at(address, len(code)) == code:
            return made
    raise Failure(INVALID_IMAGE)


def _load(address):
    ptx, architecture = _read(address)
    code = int(architecture.removeprefix("sm_"))
    major, minor = machine.gpu().capability
    demand(code // 10 == major and code % 10 <= minor, NO_BINARY)
    return emulator.Module(ptx)


@entry(To(Handle), Handle, safe=False)
def cuModuleLoadData(module, data):
    module[0] = machine.new(Module(machine.gpu(), _load(data)))


@entry(To(Handle), Handle, Handle, Handle, UInt, Handle, Handle, UInt, safe=False)
def cuLibraryLoadData(library, code, options, values, count, options2, values2, count2):
    library[0] = machine.new(Module(None, _load(code)))


def _unload(handle):
    module = machine.drop(handle, Module)
    module.loaded = False
    for handle in [h for h, f in machine.handles.items() if isinstance(f, Function) and f.module is module]:
        del machine.handles[handle]


@entry(Handle, safe=False)
def cuModuleUnload(module):
    _unload(module)


@entry(Handle, context=False, safe=False)
def cuLibraryUnload(library):
    _unload(library)


def _function(module, name):
    found = machine.find(module, Module)
    kernel = found.code.kernels.get(name.decode())
    demand(kernel is not None, NOT_FOUND)
    return machine.new(Function(found, kernel))


@entry(To(Handle), Handle, Name)
def cuModuleGetFunction(function, module, name):
    function[0] = _function(module, name)


@entry(To(Handle), Handle, Name, context=False)
def cuLibraryGetKernel(kernel, library, name):
    kernel[0] = _function(library, name)


@entry(To(Handle), Handle)
def cuKernelGetFunction(function, kernel):
    machine.find(kernel, Function)
    function[0] = kernel


@entry(To(Handle), Handle, context=False)
def cuKernelGetLibrary(library, kernel):
    module = machine.find(kernel, Function).module
    library[0] = next(handle for handle, thing in machine.handles.items() if thing is module)


_SHARED, _MOST_DYNAMIC = 1, 8


def _attribute(function, attribute):
    if attribute == _MOST_DYNAMIC:
        return function.shared_bytes
    demand(attribute == _SHARED, NOT_SUPPORTED)
    return function.kernel.shared_bytes


def _set_attribute(function, attribute, value):
    demand(attribute == _MOST_DYNAMIC, NOT_SUPPORTED)
    demand(0 <= value <= SHARED_AT_MOST - function.kernel.shared_bytes, INVALID_VALUE)
    function.shared_bytes = value


@entry(To(Int), Int, Handle)
def cuFuncGetAttribute(value, attribute, function):
    value[0] = _attribute(machine.find(function, Function), attribute)


@entry(Handle, Int, Int)
def cuFuncSetAttribute(function, attribute, value):
    _set_attribute(machine.find(function, Function), attribute, value)


@entry(To(Int), Int, Handle, Int, context=False)
def cuKernelGetAttribute(value, attribute, kernel, device):
    value[0] = _attribute(machine.find(kernel, Function), attribute)


@entry(Int, Int, Handle, Int, context=False)
def cuKernelSetAttribute(attribute, value, kernel, device):
    _set_attribute(machine.find(kernel, Function), attribute, value)


# ---- launches


class LaunchConfig(ctypes.Structure):
    _fields_ = [
        ("grid", UInt * 3),
        ("block", UInt * 3),
        ("shared_bytes", UInt),
        ("stream", Handle),
        ("attributes", Handle),
        ("n_attributes", UInt),
    ]


def _launch(function, grid, block, shared_bytes, stream, parameters, extra):
    found, on = machine.find(function, Function), machine.stream(stream)
    kernel, gpu = found.kernel, on.gpu
    demand(not extra, NOT_SUPPORTED)
    demand(all(grid) and all(block), INVALID_VALUE)
    demand(shared_bytes <= found.shared_bytes, INVALID_VALUE)
    demand(found.module.gpu in {None, gpu}, INVALID_HANDLE)
    count = len(kernel.parameters)
    pointers = (ctypes.c_void_p * count).from_address(parameters) if count else []
    arguments = tuple([ctypes.c_uint64.from_address(p).value for p in pointers])

    def work():
        if not found.module.loaded:
            raise emulator.EmulatorError(f"{kernel.name} was unloaded before it ran")
        emulator.launch(kernel, gpu.memory, grid, block, shared_bytes, arguments)

    on.enqueue(work)


@entry(Handle, *[UInt] * 7, Handle, Handle, Handle)
def cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared_bytes, stream, parameters, extra):
    _launch(function, (gx, gy, gz), (bx, by, bz), shared_bytes, stream, parameters, extra)


@entry(To(LaunchConfig), Handle, Handle, Handle)
def cuLaunchKernelEx(config, function, parameters, extra):
    c = config[0]
    demand(not c.n_attributes, NOT_SUPPORTED)
    _launch(function, tuple(c.grid), tuple(c.block), c.shared_bytes, c.stream, parameters, extra)


# ---- graphs


@entry(Handle, Int)
def cuStreamBeginCapture(stream, mode):
    on = machine.stream(stream)
    demand(on not in machine.defaults[on.gpu] and on.capture is None, CAPTURE_UNSUPPORTED)
    graph = Graph()
    on.capture = Capture(graph, machine.new(graph), mode, threading.get_ident())


@entry(Handle, To(Handle))
def cuStreamEndCapture(stream, graph):
    on = machine.stream(stream)
    capture = on.capture
    demand(capture is not None, INVALID_VALUE)
    demand(capture.mode == RELAXED or capture.thread == threading.get_ident(), CAPTURE_WRONG_THREAD)
    on.capture = None
    if graph:
        graph[0] = capture.handle if capture.valid else None
    if not capture.valid:
        raise Failure(CAPTURE_INVALIDATED)


@entry(Handle, To(Int))
def cuStreamIsCapturing(stream, status):
    capture = machine.stream(stream).capture
    status[0] = 0 if capture is None else 1 if capture.valid else 2


def _capture_info(stream, status, number, graph):
    capture = machine.stream(stream).capture
    if status:
        status[0] = 0 if capture is None else 1 if capture.valid else 2
    if capture is not None:
        if number:
            number[0] = capture.handle
        if graph:
            graph[0] = capture.handle


@entry(Handle, To(Int), To(U64), To(Handle), Handle, Handle)
def cuStreamGetCaptureInfo(stream, status, number, graph, dependencies, count):
    _capture_info(stream, status, number, graph)


@entry(Handle, To(Int), To(U64), To(Handle), Handle, Handle, Handle, since=12_030)
def cuStreamGetCaptureInfo(stream, status, number, graph, dependencies, edges, count):  # noqa: F811
    _capture_info(stream, status, number, graph)


class InstantiateParameters(ctypes.Structure):
    _fields_ = [("flags", U64), ("upload_stream", Handle), ("error_node", Handle), ("result", Int)]


def _instantiate(graph):
    """The graph as it is now, holding what the graph holds."""
    of = machine.find(graph, Graph)
    for thing in of.objects:
        thing.change(1)
    return machine.new(Graph(list(of.steps), list(of.objects)))


@entry(To(Handle), Handle, U64)
def cuGraphInstantiateWithFlags(executable, graph, flags):
    executable[0] = _instantiate(graph)


@entry(To(Handle), Handle, To(InstantiateParameters))
def cuGraphInstantiateWithParams(executable, graph, parameters):
    executable[0] = _instantiate(graph)
    parameters[0].result = 0


@entry(Handle, Handle)
def cuGraphLaunch(executable, stream):
    on = machine.stream(stream)
    demand(on.capture is None, CAPTURE_UNSUPPORTED)
    for work in machine.find(executable, Graph).steps:
        on.enqueue(work)


@entry(Handle, Handle)
def cuGraphUpload(executable, stream):
    machine.find(executable, Graph)


def _destroy(graph):
    for thing in machine.drop(graph, Graph).objects:
        thing.change(-1)


@entry(Handle, context=False)
def cuGraphDestroy(graph):
    _destroy(graph)


@entry(Handle, context=False)
def cuGraphExecDestroy(executable):
    _destroy(executable)


# ---- what a graph keeps alive


class UserObject:
    """Something of the caller's with a count of references, and what ends it."""

    def __init__(self, pointer, destroy, count):
        self.pointer, self.destroy, self.count = pointer, destroy, count

    def change(self, by):
        self.count += by
        if not self.count:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.destroy)(self.pointer)


@entry(To(Handle), Handle, Handle, UInt, UInt, context=False)
def cuUserObjectCreate(thing, pointer, destroy, count, flags):
    thing[0] = machine.new(UserObject(pointer, destroy, count))


@entry(Handle, UInt, context=False)
def cuUserObjectRetain(thing, count):
    machine.find(thing, UserObject).change(count)


@entry(Handle, UInt, context=False)
def cuUserObjectRelease(thing, count):
    machine.find(thing, UserObject).change(-count)


_MOVE = 1


@entry(Handle, Handle, UInt, UInt, context=False)
def cuGraphRetainUserObject(graph, thing, count, flags):
    retained = machine.find(thing, UserObject)
    machine.find(graph, Graph).objects.extend([retained] * count)
    if flags != _MOVE:
        retained.change(count)


@entry(Handle, Handle, UInt, context=False)
def cuGraphReleaseUserObject(graph, thing, count):
    released, held = machine.find(thing, UserObject), machine.find(graph, Graph).objects
    for _ in range(count):
        held.remove(released)
    released.change(-count)
