"""What is looked for, what is found, and the one message for what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from graphad.backends.cuda import toolkit
from graphad.device import Device
from graphad.errors import DeviceError


def test_devices_without_a_driver(monkeypatch):
    monkeypatch.setattr(toolkit, "gpu_count", lambda: 0)
    assert toolkit.available() == (Device("cuda:emulated"),)


def test_devices_with_gpus(monkeypatch):
    monkeypatch.setattr(toolkit, "gpu_count", lambda: 2)
    assert [d.name for d in toolkit.available()] == ["cuda:0", "cuda:1", "cuda:emulated"]


def test_looking_for_devices_imports_nothing():
    code = (
        "import sys; from graphad.backends.cuda import toolkit; toolkit.available()\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('cuda', 'numba', 'llvmlite')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def missing(name):
    raise ImportError(name)


@pytest.mark.parametrize(
    ("find", "what"),
    [
        (toolkit.driver, "The driver of a GPU"),
        (toolkit.core, "The driver of a GPU"),
        (toolkit.nvjitlink, "The assembler"),
        (toolkit.cublaslt, "cuBLASLt"),
        (toolkit.disassembler, "The disassembler"),
    ],
)
def test_one_message_for_all_that_is_missing(monkeypatch, find, what):
    monkeypatch.setattr(toolkit, "gpu_count", lambda: 1)
    monkeypatch.setattr(toolkit.importlib, "import_module", missing)
    monkeypatch.setattr(toolkit, "cublaslt_path", toolkit.cublaslt_path.__wrapped__)
    monkeypatch.setattr(toolkit, "version_of", lambda package: None)
    with pytest.raises(DeviceError) as caught:
        find.__wrapped__()
    message = str(caught.value)
    assert message.startswith(f"{what} is not available. Looked for the driver (")
    for said in (*toolkit.PACKAGES, "not installed", "pip install graphad[cuda]", "580", "device='cuda:emulated'"):
        assert said in message


@pytest.mark.parametrize(
    ("found", "begins"),
    [(False, "This machine has no NVIDIA driver. "), (True, "The NVIDIA driver of this machine shows no GPU. ")],
)
def test_no_gpu(monkeypatch, found, begins):
    monkeypatch.setattr(toolkit, "gpu_count", lambda: 0)
    monkeypatch.setattr(toolkit, "_driver_found", lambda: found)
    with pytest.raises(DeviceError) as caught:
        toolkit.driver.__wrapped__()
    assert str(caught.value).startswith(f"{begins}Looked for the driver (")


@pytest.mark.parametrize("find", [toolkit.nvjitlink, toolkit.disassembler])
def test_what_reads_machine_code_asks_for_no_more_than_it_needs(monkeypatch, find):
    monkeypatch.setattr(toolkit.importlib, "import_module", missing)
    with pytest.raises(
        DeviceError, match=r"\. `pip install graphad\[cuda-assemble\]` \(150 MB\) is enough for it\. To run"
    ):
        find.__wrapped__()
