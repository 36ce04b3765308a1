"""Where torch computes, and in which precision. Importing this module imports torch, not Lightning."""

from typing import Any

import torch

from tasks import TrainingError


def has_accelerator() -> bool:
    """Whether there is a device that is no CPU."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def find_device(accelerator: str) -> torch.device:
    """The device of an accelerator: `auto`, `cpu`, `gpu` or `mps`.

    Raises:
        TrainingError: there is none.
    """
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator in ("auto", "cpu"):
        return torch.device("cpu")
    raise TrainingError(f"Expected a device for accelerator {accelerator}, found none. Set it to auto.")


def choose_precision(asked: str, accelerator: str) -> Any:
    """The precision asked for; `auto` is bf16-mixed where the device computes in bfloat16, else 32-true."""
    if asked != "auto":
        return asked
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    features = torch.cpu.get_capabilities() if accelerator in ("auto", "cpu") else {}
    native = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
    return "bf16-mixed" if native else "32-true"
