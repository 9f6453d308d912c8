"""Which precision a training runs in, and whether the hardware has it."""

import torch

SLOW_BF16 = (
    "this processor has no bf16 instructions: with mixed_precision bf16 a step takes many times as long as with no "
    "(50 times were seen). Take auto, or no."
)


def resolve_precision(asked: str, device_type: str) -> str:
    """What accelerate shall be told for `mixed_precision`: "auto" becomes bf16 where the hardware multiplies in it."""
    if asked != "auto":
        return asked
    return "bf16" if multiplies_in_bf16(device_type) else "no"


def multiplies_in_bf16(device_type: str) -> bool:
    """Whether bf16 products are instructions of this machine's CPU or GPU; False for devices that are neither."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.9 cannot tell
        return any(there for name, there in capabilities.items() if "bf16" in name)
    return False
