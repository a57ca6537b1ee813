"""GPUs that are not there: what NVIDIA's driver keeps behind its handles, on the CPU, and as strict as it.

What is queued on a stream is done as late as the driver may do it: when somebody waits for it. What is freed, reused or
overwritten too early is then seen. Kernels run in the emulator, which checks every access; what it finds ends the
context, as a fault on a GPU does.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections import deque
from dataclasses import dataclass, field

from graphad.backends.cuda import emulator

# Numbers of cuda.h.
INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, INVALID_DEVICE, INVALID_IMAGE, INVALID_CONTEXT = 1, 2, 3, 101, 200, 201
NO_BINARY, INVALID_HANDLE, NOT_FOUND, NOT_READY = 209, 400, 500, 600
ILLEGAL_ADDRESS, MISALIGNED, NOT_SUPPORTED, UNKNOWN = 700, 716, 801, 999
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURED_EVENT, CAPTURE_WRONG_THREAD = 900, 901, 907, 908

#: Flags and modes.
NON_BLOCKING, RELAXED = 1, 2
SHARED_UNASKED, SHARED_AT_MOST = 48 << 10, 227 << 10
#: Where the memory of the second GPU begins, relative to that of the first.
APART = 1 << 44


class Failure(Exception):
    """The status that a call of the driver returns."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def demand(condition, code):
    """Fail with a status unless something holds."""
    if not condition:
        raise Failure(code)


@dataclass(eq=False)
class Gpu:
    """One GPU and its primary context."""

    ordinal: int
    total: int = 1 << 32
    capability: tuple[int, int] = (9, 0)
    used: int = 0
    dead: int = 0  # the status of the fault that has ended the context
    why: str = ""
    sizes: dict[int, int] = field(default_factory=dict)  # of what is allocated, as of the calls so far
    memory: emulator.Memory = field(default_factory=emulator.Memory)

    def __post_init__(self):
        self.memory.next += self.ordinal * APART

    def allocate(self, nbytes):
        demand(nbytes > 0, INVALID_VALUE)
        demand(self.used + nbytes <= self.total, OUT_OF_MEMORY)
        address = self.memory.allocate(nbytes)
        self.sizes[address] = nbytes
        self.used += nbytes
        return address

    def forget(self, address):
        """Count memory as free; its contents are there until the work queued so far has ended."""
        demand(address in self.sizes, INVALID_VALUE)
        self.used -= self.sizes.pop(address)

    def check(self, address, nbytes):
        """Fail unless these bytes are allocated, all by one allocation."""
        found = self.memory.find(address)
        demand(found is not None and found.start in self.sizes and address + nbytes <= found.end, INVALID_VALUE)


@dataclass(eq=False)
class Stream:
    """Work in order, and the graph that records it while there is one."""

    gpu: Gpu
    flags: int = NON_BLOCKING
    queue: deque = field(default_factory=deque)
    queued: int = 0
    ended: int = 0
    capture: Capture | None = None

    def enqueue(self, work):
        """Queue work, or record it."""
        if self.capture is not None:
            demand(self.capture.valid, CAPTURE_INVALIDATED)
            self.capture.graph.steps.append(work)
        else:
            self.queue.append(work)
            self.queued += 1

    def run(self, until=None):
        """Do what is queued, the first ``until`` pieces of all that ever was."""
        while self.queue and (until is None or self.ended < until):
            work = self.queue.popleft()
            self.ended += 1
            try:
                work()
            except emulator.EmulatorError as error:
                self.gpu.dead = MISALIGNED if "misaligned" in str(error) else ILLEGAL_ADDRESS
                self.gpu.why = str(error)
                self.queue.clear()
                raise Failure(self.gpu.dead) from None


@dataclass(eq=False)
class Graph:
    """Recorded work, or such work made ready to be launched."""

    steps: list = field(default_factory=list)
    objects: list = field(default_factory=list)


@dataclass(eq=False)
class Capture:
    """The recording of a stream."""

    graph: Graph
    handle: int
    mode: int
    thread: int
    valid: bool = True


@dataclass(eq=False)
class Event:
    """A point in the work of a stream."""

    gpu: Gpu
    stream: Stream | None = None
    point: int = 0
    captured: bool = False


@dataclass(eq=False)
class Module:
    """Loaded machine code, which stands for the PTX that it was made from."""

    gpu: Gpu | None  # None: on each GPU where its kernels are launched
    code: emulator.Module
    loaded: bool = True


@dataclass(eq=False)
class Function:
    """A kernel."""

    module: Module
    kernel: emulator.Kernel
    shared_bytes: int = SHARED_UNASKED


@dataclass(eq=False)
class Pool:
    """A pool of memory; what it keeps of freed memory is not modelled."""

    gpu: Gpu
    attributes: dict[int, int] = field(default_factory=dict)


class Machine:
    """All of it, behind one lock; what the calls find is theirs to change."""

    def __init__(self):
        self.lock = threading.RLock()
        self.here = threading.local()
        self.numbers = itertools.count(0x5000, 0x100)
        self.handles = {}
        self.accidents = []  # errors of the loopback itself
        self.initialised = False
        self.reset()

    def reset(self, count=1, version=13_000, **options):
        """Fresh GPUs: no contexts, no memory, no handles. Libraries that hold some must not use them any more."""
        self.gpus = [Gpu(k, **options) for k in range(count)]
        self.version = version
        self.handles = {}
        self.pinned = {}
        self.defaults = {gpu: (Stream(gpu, 0), Stream(gpu, 0)) for gpu in self.gpus}
        self.calls = []
        self.contexts = {gpu.ordinal: self.new(gpu) for gpu in self.gpus}
        self.pools = {gpu.ordinal: self.new(Pool(gpu)) for gpu in self.gpus}

    # ---- handles

    def new(self, thing):
        """A handle, never given out before."""
        handle = next(self.numbers)
        self.handles[handle] = thing
        return handle

    def find(self, handle, *kinds):
        """What a handle stands for."""
        found = self.handles.get(handle)
        demand(isinstance(found, kinds), INVALID_HANDLE)
        return found

    def drop(self, handle, *kinds):
        """What a handle has stood for."""
        found = self.find(handle, *kinds)
        del self.handles[handle]
        return found

    def alive(self, kind):
        """What there is of a kind."""
        return [x for x in self.handles.values() if isinstance(x, kind)]

    # ---- contexts

    @property
    def stack(self):
        """The contexts of this thread, the current one last."""
        if not hasattr(self.here, "stack"):
            self.here.stack = []
        return self.here.stack

    def gpu(self):
        """That of the current context."""
        demand(self.stack, INVALID_CONTEXT)
        gpu = self.find(self.stack[-1], Gpu)
        demand(not gpu.dead, gpu.dead)
        return gpu

    # ---- streams

    def stream(self, handle):
        """A stream, of the current context."""
        gpu = self.gpu()
        if handle in {None, 0, 1, 2}:
            return self.defaults[gpu][handle == 2]
        stream = self.find(handle, Stream)
        demand(stream.gpu is gpu, INVALID_HANDLE)
        return stream

    def safe(self):
        """Fail where this thread records in a mode that forbids calls which may wait, or reach other streams."""
        for stream in self.alive(Stream):
            capture = stream.capture
            if capture is not None and capture.mode != RELAXED and capture.thread == threading.get_ident():
                capture.valid = False
                raise Failure(CAPTURE_UNSUPPORTED)

    def wait(self, stream):
        """Do all that is queued on a stream."""
        if stream.capture is not None:
            stream.capture.valid = False
            raise Failure(CAPTURE_UNSUPPORTED)
        stream.run()

    # ---- memory of the host

    def pin(self, nbytes):
        demand(nbytes > 0, INVALID_VALUE)
        buffer = ctypes.create_string_buffer(nbytes + 256)
        address = -(-ctypes.addressof(buffer) // 256) * 256
        self.pinned[address] = nbytes, buffer
        return address

    def is_pinned(self, address, nbytes):
        return any(start <= address and address + nbytes <= start + size for start, (size, _) in self.pinned.items())


machine = Machine()
