"""Calls of the driver: devices, contexts, streams, events, memory. The names and the arguments are those of cuda.h."""

from __future__ import annotations

import ctypes

import numpy as np
from cuda.bindings import driver

from tests.cuda.loopback.library import U64, Handle, Int, Name, Size, To, UInt, entry
from tests.cuda.loopback.machine import (
    CAPTURED_EVENT,
    INVALID_CONTEXT,
    INVALID_DEVICE,
    INVALID_VALUE,
    NOT_INITIALIZED,
    NOT_READY,
    NOT_SUPPORTED,
    Event,
    Failure,
    Gpu,
    Pool,
    Stream,
    demand,
    machine,
)

# ---- errors

TEXTS: dict[int, tuple[bytes, bytes]] = {}


def _texts(code):
    """Name and explanation, in C strings that stay where they are."""
    if code not in TEXTS:
        try:
            name = driver.CUresult(code).name
        except ValueError:
            raise Failure(INVALID_VALUE) from None
        TEXTS[code] = name.encode(), name.removeprefix("CUDA_ERROR_").replace("_", " ").lower().encode()
    return TEXTS[code]


@entry(Int, To(Name), context=False)
def cuGetErrorName(error, text):
    text[0] = _texts(error)[0]


@entry(Int, To(Name), context=False)
def cuGetErrorString(error, text):
    text[0] = _texts(error)[1]


# ---- devices

#: Of each attribute of a device, by its number in cuda.h.
ATTRIBUTES = {
    1: 1024,  # MAX_THREADS_PER_BLOCK
    8: 49_152,  # MAX_SHARED_MEMORY_PER_BLOCK
    10: 32,  # WARP_SIZE
    16: 4,  # MULTIPROCESSOR_COUNT
    41: 1,  # UNIFIED_ADDRESSING
    97: 232_448,  # MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    115: 1,  # MEMORY_POOLS_SUPPORTED
}


@entry(UInt, context=False)
def cuInit(flags):
    demand(flags == 0, INVALID_VALUE)
    machine.initialised = True


@entry(To(Int), context=False)
def cuDriverGetVersion(version):
    version[0] = machine.version


@entry(To(Int), context=False)
def cuDeviceGetCount(count):
    demand(machine.initialised, NOT_INITIALIZED)
    count[0] = len(machine.gpus)


@entry(To(Int), Int, context=False)
def cuDeviceGet(device, ordinal):
    demand(0 <= ordinal < len(machine.gpus), INVALID_DEVICE)
    device[0] = ordinal


def _device(ordinal):
    demand(0 <= ordinal < len(machine.gpus), INVALID_DEVICE)
    return machine.gpus[ordinal]


@entry(To(Int), Int, Int, context=False)
def cuDeviceGetAttribute(value, attribute, device):
    gpu = _device(device)
    known = {**ATTRIBUTES, 75: gpu.capability[0], 76: gpu.capability[1]}
    value[0] = known.get(attribute, 0)


@entry(Handle, Int, Int, context=False)
def cuDeviceGetName(name, length, device):
    text = f"Loopback GPU {_device(device).ordinal}".encode()[: length - 1] + b"\0"
    ctypes.memmove(name, text, len(text))


@entry(To(Size), Int, context=False)
def cuDeviceTotalMem(nbytes, device):
    nbytes[0] = _device(device).total


# ---- contexts


@entry(To(Handle), Int, context=False)
def cuDevicePrimaryCtxRetain(context, device):
    context[0] = machine.contexts[_device(device).ordinal]


@entry(Int, context=False)
def cuDevicePrimaryCtxRelease(device):
    _device(device)


@entry(Handle, context=False)
def cuCtxPushCurrent(context):
    machine.find(context, Gpu)
    machine.stack.append(context)


@entry(To(Handle), context=False)
def cuCtxPopCurrent(context):
    demand(machine.stack, INVALID_CONTEXT)
    popped = machine.stack.pop()
    if context:
        context[0] = popped


@entry(Handle, context=False)
def cuCtxSetCurrent(context):
    del machine.stack[-1:]
    if context:
        machine.find(context, Gpu)
        machine.stack.append(context)


@entry(To(Handle), context=False)
def cuCtxGetCurrent(context):
    context[0] = machine.stack[-1] if machine.stack else None


@entry(To(Int))
def cuCtxGetDevice(device):
    device[0] = machine.gpu().ordinal


@entry(To(Int), Handle, since=13_000, context=False)
def cuCtxGetDevice(device, context):  # noqa: F811 - the variant of CUDA 13
    gpu = machine.find(context, Gpu) if context else machine.gpu()
    device[0] = gpu.ordinal


@entry(safe=False)
def cuCtxSynchronize():
    gpu = machine.gpu()
    for stream in machine.alive(Stream):
        if stream.gpu is gpu:
            machine.wait(stream)


@entry(To(Int), To(Int))
def cuCtxGetStreamPriorityRange(least, greatest):
    least[0], greatest[0] = 0, -5


# ---- streams


@entry(To(Handle), UInt)
def cuStreamCreate(stream, flags):
    stream[0] = machine.new(Stream(machine.gpu(), flags))


@entry(To(Handle), UInt, Int)
def cuStreamCreateWithPriority(stream, flags, priority):
    stream[0] = machine.new(Stream(machine.gpu(), flags))


@entry(Handle, context=False)
def cuStreamDestroy(stream):
    machine.drop(stream, Stream).run()


@entry(Handle)
def cuStreamSynchronize(stream):
    machine.wait(machine.stream(stream))


@entry(Handle, safe=False)
def cuStreamQuery(stream):
    demand(not machine.stream(stream).queue, NOT_READY)


@entry(Handle, To(Handle))
def cuStreamGetCtx(stream, context):
    context[0] = machine.contexts[machine.stream(stream).gpu.ordinal]


@entry(Handle, To(Handle), To(Handle), since=12_050)
def cuStreamGetCtx(stream, context, green):  # noqa: F811
    context[0], green[0] = machine.contexts[machine.stream(stream).gpu.ordinal], None


@entry(Handle, To(Int))
def cuStreamGetDevice(stream, device):
    device[0] = machine.stream(stream).gpu.ordinal


@entry(Handle, To(UInt))
def cuStreamGetFlags(stream, flags):
    flags[0] = machine.stream(stream).flags


@entry(Handle, To(Int))
def cuStreamGetPriority(stream, priority):
    machine.stream(stream)
    priority[0] = 0


@entry(Handle, Handle, UInt)
def cuStreamWaitEvent(stream, event, flags):
    waited = machine.find(event, Event)
    demand(not waited.captured, CAPTURED_EVENT)
    if waited.stream is not None:
        point, of = waited.point, waited.stream
        machine.stream(stream).enqueue(lambda: of.run(point))


# ---- events


@entry(To(Handle), UInt)
def cuEventCreate(event, flags):
    event[0] = machine.new(Event(machine.gpu()))


@entry(Handle, context=False)
def cuEventDestroy(event):
    machine.drop(event, Event)


@entry(Handle, Handle)
def cuEventRecord(event, stream):
    recorded, on = machine.find(event, Event), machine.stream(stream)
    recorded.stream, recorded.point, recorded.captured = on, on.queued, on.capture is not None


@entry(Handle, Handle, UInt)
def cuEventRecordWithFlags(event, stream, flags):
    cuEventRecord(event, stream)


@entry(Handle, safe=False)
def cuEventSynchronize(event):
    waited = machine.find(event, Event)
    demand(not waited.captured, CAPTURED_EVENT)
    if waited.stream is not None:
        waited.stream.run(waited.point)


@entry(Handle, safe=False)
def cuEventQuery(event):
    asked = machine.find(event, Event)
    demand(asked.stream is None or asked.stream.ended >= asked.point, NOT_READY)


# ---- memory of the device


def _allocate(address, nbytes, stream):
    demand(stream.capture is None, NOT_SUPPORTED)  # it would be a node of the graph, which none of ours should have
    address[0] = stream.gpu.allocate(nbytes)


@entry(To(Handle), Size, Handle)
def cuMemAllocAsync(address, nbytes, stream):
    _allocate(address, nbytes, machine.stream(stream))


@entry(To(Handle), Size, Handle, Handle)
def cuMemAllocFromPoolAsync(address, nbytes, pool, stream):
    machine.find(pool, Pool)
    _allocate(address, nbytes, machine.stream(stream))


@entry(Handle, Handle)
def cuMemFreeAsync(address, stream):
    on = machine.stream(stream)
    demand(on.capture is None, NOT_SUPPORTED)
    on.gpu.forget(address)
    on.enqueue(lambda: on.gpu.memory.free(address))


@entry(To(Handle), Size, safe=False)
def cuMemAlloc(address, nbytes):
    address[0] = machine.gpu().allocate(nbytes)


@entry(To(Size), To(Size))
def cuMemGetInfo(free, total):
    gpu = machine.gpu()
    free[0], total[0] = gpu.total - gpu.used, gpu.total


class Location(ctypes.Structure):
    _fields_ = [("type", Int), ("id", Int)]


class PoolProperties(ctypes.Structure):
    _fields_ = [
        ("allocation_type", Int),
        ("handle_types", Int),
        ("location", Location),
        ("security", Handle),
        ("most", Size),
        ("rest", ctypes.c_ubyte * 56),
    ]


_ON_A_DEVICE = 1


@entry(To(Handle), To(PoolProperties), context=False)
def cuMemPoolCreate(pool, properties):
    demand(properties[0].location.type == _ON_A_DEVICE, NOT_SUPPORTED)
    pool[0] = machine.new(Pool(_device(properties[0].location.id)))


@entry(Handle, context=False)
def cuMemPoolDestroy(pool):
    machine.drop(pool, Pool)


@entry(To(Handle), To(Location), Int, context=False)
def cuMemGetMemPool(pool, location, kind):
    pool[0] = machine.pools[_device(location[0].id).ordinal]


@entry(To(Handle), Int, context=False)
def cuDeviceGetMemPool(pool, device):
    pool[0] = machine.pools[_device(device).ordinal]


@entry(Handle, Int, To(U64), context=False)
def cuMemPoolGetAttribute(pool, attribute, value):
    value[0] = machine.find(pool, Pool).attributes.get(attribute, 0)


@entry(Handle, Int, To(U64), context=False)
def cuMemPoolSetAttribute(pool, attribute, value):
    machine.find(pool, Pool).attributes[attribute] = value[0]


@entry(Handle, Handle, Size, context=False)
def cuMemPoolSetAccess(pool, descriptions, count):
    machine.find(pool, Pool)


@entry(Handle, Size, context=False)
def cuMemPoolTrimTo(pool, nbytes):
    machine.find(pool, Pool)


_DEVICE_ORDINAL = 9


def _owner(address):
    for gpu in machine.gpus:
        found = gpu.memory.find(address)
        if found is not None and found.start in gpu.sizes and address < max(found.end, found.start + 1):
            return gpu
    raise Failure(INVALID_VALUE)


@entry(Handle, Int, Handle, context=False)
def cuPointerGetAttribute(data, attribute, address):
    demand(attribute == _DEVICE_ORDINAL, NOT_SUPPORTED)
    ctypes.c_int.from_address(data).value = _owner(address).ordinal


# ---- memory of the host


@entry(To(Handle), Size, safe=False)
def cuMemAllocHost(address, nbytes):
    address[0] = machine.pin(nbytes)


@entry(To(Handle), Size, UInt, safe=False)
def cuMemHostAlloc(address, nbytes, flags):
    address[0] = machine.pin(nbytes)


@entry(Handle, context=False, safe=False)
def cuMemFreeHost(address):
    demand(address in machine.pinned, INVALID_VALUE)
    for stream in machine.alive(Stream):  # it waits until nobody reads it
        stream.run()
    del machine.pinned[address]


# ---- copies


def _host(address, nbytes):
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)


def _to_device(target, source, nbytes, stream):
    gpu = stream.gpu
    gpu.check(target, nbytes)
    data = _host(source, nbytes)
    if not machine.is_pinned(source, nbytes):  # the driver copies it before it returns
        data = data.copy()

    def work():
        gpu.memory.view(target, nbytes)[:] = data

    stream.enqueue(work)


def _to_host(target, source, nbytes, stream):
    gpu = stream.gpu
    gpu.check(source, nbytes)

    def work():
        _host(target, nbytes)[:] = gpu.memory.view(source, nbytes, read_only=True)

    stream.enqueue(work)
    if not machine.is_pinned(target, nbytes):  # the driver returns when it is there
        machine.wait(stream)


def _within(target, source, nbytes, stream):
    gpu = stream.gpu
    gpu.check(target, nbytes)
    gpu.check(source, nbytes)

    def work():
        gpu.memory.view(target, nbytes)[:] = gpu.memory.view(source, nbytes, read_only=True).copy()

    stream.enqueue(work)


@entry(Handle, Handle, Size, Handle)
def cuMemcpyHtoDAsync(target, source, nbytes, stream):
    _to_device(target, source, nbytes, machine.stream(stream))


@entry(Handle, Handle, Size, Handle)
def cuMemcpyDtoHAsync(target, source, nbytes, stream):
    _to_host(target, source, nbytes, machine.stream(stream))


@entry(Handle, Handle, Size, Handle)
def cuMemcpyDtoDAsync(target, source, nbytes, stream):
    _within(target, source, nbytes, machine.stream(stream))


def _is_device(address):
    return any(gpu.memory.find(address) is not None for gpu in machine.gpus)


@entry(Handle, Handle, Size, Handle)
def cuMemcpyAsync(target, source, nbytes, stream):
    """Which way is told from the addresses."""
    kinds = _is_device(target), _is_device(source)
    copy = {(True, True): _within, (True, False): _to_device, (False, True): _to_host}.get(kinds)
    demand(copy is not None, INVALID_VALUE)
    copy(target, source, nbytes, machine.stream(stream))
