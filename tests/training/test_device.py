"""Devices and precisions are given or refused, never silently replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dermlens.errors import UserError
from dermlens.training import machine as module
from dermlens.training.machine import check_count, check_precision, resolve_device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have these devices."""

    def machine(*there):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)

    return machine


def test_auto_takes_the_best(machine):
    machine("cuda")
    assert resolve_device("auto") == "cuda"
    machine("mps")
    assert resolve_device("auto") == "mps"
    machine()
    assert resolve_device("auto") == "cpu"


def test_absent_and_unknown_devices_are_named(machine):
    machine()
    with pytest.raises(UserError, match=r"--device cuda.*cpu"):
        resolve_device("cuda")
    with pytest.raises(UserError, match="--device gpu"):
        resolve_device("gpu")


def test_no_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_count("cuda", 2)
    check_count("cpu", 8)
    with pytest.raises(UserError, match=r"--devices 3.*2.*cuda"):
        check_count("cuda", 3)
    with pytest.raises(UserError, match=r"--devices 2.*1.*mps"):
        check_count("mps", 2)


@pytest.mark.parametrize(
    ("precision", "device", "cpu_has_bf16", "sentence"),
    [
        ("32-true", "cpu", False, None),
        ("bf16-mixed", "cpu", True, None),
        ("bf16-mixed", "cpu", False, "bf16-mixed on cpu .*AMX"),
        ("16-mixed", "cpu", True, "16-mixed on cpu"),
        ("16-mixed", "mps", True, "mps .*CUDA"),
    ],
)
def test_precisions(monkeypatch, precision, device, cpu_has_bf16, sentence):
    monkeypatch.setattr(module, "_cpu_has_bf16", lambda: cpu_has_bf16)
    if sentence is None:
        check_precision(precision, device)
        return
    with pytest.raises(UserError, match=sentence):
        check_precision(precision, device)


def test_what_the_cpu_says_of_itself():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        pytest.skip("only Linux lists what a CPU can do")
    flags = cpuinfo.read_text().split()
    assert module._cpu_has_bf16() == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))
