"""``PTX -> cubin`` by NVIDIA's own assembler, which needs no GPU, with what it says of each kernel."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS
from graphad.backends.cuda.ptx.occupancy import RESERVED_SHARED
from graphad.errors import LoweringError, did_you_mean

#: Products and sums are fused where the PTX says so, and not at the assembler's discretion: a GPU gives the same bits
#: as the emulator. (LLVM has fused what may be fused already, so this costs no speed.)
_OPTIONS: Final = ("-Xptxas=--fmad=false", "-Xptxas=-v", "-verbose")
_ENTRY: Final = re.compile(r"^ptxas info.*Compiling entry function '([^']+)'", re.MULTILINE)
_LINKED: Final = re.compile(r"^info.*Function properties for '([^']+)':\ninfo.*?(\d+) bytes smem", re.MULTILINE)
_NUMBERS: Final = {
    "registers": re.compile(r"Used (\d+) registers"),
    "stack_bytes": re.compile(r"(\d+) bytes stack frame"),
    "spill_stores": re.compile(r"(\d+) bytes spill stores"),
    "spill_loads": re.compile(r"(\d+) bytes spill loads"),
    "barriers": re.compile(r"used (\d+) barriers"),
}
_COMPLAINT: Final = re.compile(r"^.*\b(?:error|fatal)\b.*$", re.MULTILINE | re.IGNORECASE)
_PTX_LINE: Final = re.compile(r"line (\d+)")


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The assembler's report on one kernel. Spills are bytes of registers that had to go to memory."""

    name: str
    registers: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    stack_bytes: int = 0
    shared_bytes: int = 0
    barriers: int = 0


@dataclass(frozen=True, slots=True)
class Assembled:
    """Machine code for GPUs of one architecture."""

    cubin: bytes
    architecture: str
    kernels: tuple[KernelReport, ...]
    log: str

    def __getitem__(self, name: str) -> KernelReport:
        """The report on the kernel of this name."""
        return next(k for k in self.kernels if k.name == name)

    def to_bytes(self) -> bytes:
        """All of it, for a file."""
        head = json.dumps(
            {"architecture": self.architecture, "kernels": [asdict(k) for k in self.kernels], "log": self.log}
        ).encode()
        return len(head).to_bytes(8, "little") + head + self.cubin

    @staticmethod
    def from_bytes(data: bytes) -> Assembled:
        """What `to_bytes` wrote."""
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:end])
        kernels = tuple([KernelReport(**k) for k in head["kernels"]])
        return Assembled(data[end:], head["architecture"], kernels, head["log"])


def assemble(ptx: str, architecture: str) -> Assembled:
    """Machine code of the kernels in ``ptx``.

    Parameters
    ----------
    ptx
        A module.
    architecture
        Of the GPU: one of `PTX_VERSIONS`, and at least that which the module names as its target.

    Raises
    ------
    LoweringError
        If the assembler refuses the module; the message quotes it, and the line.
    DeviceError
        If the assembler is not installed.
    """
    if architecture not in PTX_VERSIONS:  # the assembler would crash the process
        known = did_you_mean(architecture, PTX_VERSIONS)
        raise LoweringError(f"there is no assembling for the architecture {architecture!r}. {known}")
    linker = toolkit.nvjitlink()
    options = [f"-arch={architecture}", *_OPTIONS]
    handle: Any = None
    try:
        handle = linker.create(len(options), options)
        text = ptx.encode()
        linker.add_data(handle, linker.InputType.PTX, text, len(text), "module")
        linker.complete(handle)
        cubin = bytearray(linker.get_linked_cubin_size(handle))
        linker.get_linked_cubin(handle, cubin)
        log = _log(linker.get_info_log_size(handle), lambda into: linker.get_info_log(handle, into))
    except linker.nvJitLinkError as error:
        said = str(error) if handle is None else _error_log(linker, handle) or str(error)
        raise LoweringError(_refusal(said, ptx, architecture)) from None
    finally:
        if handle is not None:
            linker.destroy(handle)
    return Assembled(bytes(cubin), architecture, parse_reports(log), log)


def parse_reports(log: str) -> tuple[KernelReport, ...]:
    """The reports on all kernels in a verbose log of the assembler.

    Examples
    --------
    >>> parse_reports('''ptxas info    : Compiling entry function 'k' for 'sm_90'
    ... ptxas info    : Function properties for k
    ...     8 bytes stack frame, 0 bytes spill stores, 4 bytes spill loads
    ... ptxas info    : Used 24 registers, used 1 barriers, 128 bytes smem
    ... info    : Function properties for 'k':
    ... info    : used 24 registers, used 1 barriers, 8 stack, 1152 bytes smem, 544 bytes cmem[0]''')
    (KernelReport(name='k', registers=24, spill_stores=0, spill_loads=4, stack_bytes=8, shared_bytes=128, barriers=1),)
    """
    compiled, *linked = re.split("^info", log, maxsplit=1, flags=re.MULTILINE)
    # Only the linker has counted variables that several kernels share; for this one architecture, it counts what the
    # system reserves as well, but for kernels that have none.
    reserved = RESERVED_SHARED if "for 'sm_90'" in compiled else 0
    counted = _LINKED.findall("info".join(["", *linked]))
    shared = {name: max(int(nbytes) - reserved, 0) for name, nbytes in counted}
    pieces = _ENTRY.split(compiled)
    reports: list[KernelReport] = []
    for name, said in zip(pieces[1::2], pieces[2::2], strict=True):
        found = {field: pattern.search(said) for field, pattern in _NUMBERS.items()}
        numbers = {field: int(m[1]) for field, m in found.items() if m}
        reports.append(KernelReport(name, **numbers, shared_bytes=shared.get(name, 0)))
    return tuple(reports)


def sass(cubin: bytes) -> str:
    """The machine code as text.

    Raises
    ------
    DeviceError
        If the disassembler is not installed.
    """
    program = toolkit.disassembler()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "module.cubin"
        path.write_bytes(cubin)
        done = subprocess.run([program, "-c", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoweringError(f"{program} cannot read this machine code: {done.stderr.strip()}")
    return done.stdout


def _log(size: int, fill: Any) -> str:
    into = bytearray(size)
    if size:
        fill(into)
    return into.rstrip(b"\0").decode(errors="replace")


def _error_log(linker: Any, handle: Any) -> str:
    return _log(linker.get_error_log_size(handle), lambda into: linker.get_error_log(handle, into))


def _refusal(said: str, ptx: str, architecture: str) -> str:
    """The assembler's first complaint, with the line of the module that it is about."""
    complaint = _COMPLAINT.search(said)
    first = complaint[0].strip() if complaint else said.strip()
    number = _PTX_LINE.search(first)
    lines = ptx.splitlines()
    shown = ""
    if number and 0 < int(number[1]) <= len(lines):
        shown = f" Line {number[1]} of the module is: {lines[int(number[1]) - 1].strip()}"
    return f"the assembler refuses this module for {architecture}: {first}.{shown}"
