"""Which processor trains, and whether it has the precision that a recipe asks for."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from dermlens.errors import UserError, nearest

Device = Literal["cpu", "cuda", "mps"]


def resolve_device(name: str) -> Device:
    """The device behind a `--device`.

    Args:
        name: `auto` takes the best there is; `cpu`, `cuda` or `mps`.

    Raises:
        UserError: no such device, or not on this machine.
    """
    there: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, is_there in there.items() if is_there)
    for device in get_args(Device):
        if name == device:
            if not there[device]:
                found = ", ".join(known for known, is_there in there.items() if is_there)
                raise UserError(f"--device {name}: PyTorch finds no such device here; it finds: {found}")
            return device  # type: ignore[no-any-return]
    raise UserError(f"--device {name} is not known{nearest(name, ['auto', *there])}")


def check_count(device: Device, devices: int) -> None:
    """Refuse more devices than there are; a CPU runs as many processes as one likes.

    Raises:
        UserError: there are fewer.
    """
    there = {"cpu": devices, "cuda": torch.cuda.device_count(), "mps": 1}[device]
    if devices > there:
        raise UserError(f"--devices {devices}: this machine has {there} of kind {device}")


def check_precision(precision: str, device: Device) -> None:
    """Refuse a precision that the hardware would only emulate, many times slower, or not at all.

    Args:
        precision: `train.precision` of a recipe.
        device: where it shall train.

    Raises:
        UserError: the device lacks it.
    """
    if precision == "32-true":
        return
    if device == "cuda":
        lacking = precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False)
        needs = "bfloat16 arithmetic, from NVIDIA's Ampere on; 16-mixed runs on this GPU"
    elif device == "cpu":
        lacking = precision == "16-mixed" or not _cpu_has_bf16()
        needs = "a GPU" if precision == "16-mixed" else "a processor with AVX512-BF16 or AMX"
    else:
        lacking, needs = True, "CUDA, or a CPU with bfloat16 for bf16-mixed"
    if lacking:
        raise UserError(f"train.precision {precision} on {device} needs {needs}; 32-true runs everywhere")


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware."""
    abilities = torch.cpu.get_capabilities()
    return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
