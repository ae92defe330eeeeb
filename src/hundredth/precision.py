"""The number format in which a machine multiplies matrices fastest."""

import torch

# What torch calls the instructions of a processor that multiply in bfloat16.
_PROBES = {"AMX": "_is_amx_tile_supported", "AVX512-BF16": "_is_avx512_bf16_supported"}


def fast_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    """Return the number format for matrix products on `device`, and why in words.

    bfloat16 matrix products are several times faster than float32 where the hardware has instructions for them
    (AMX, AVX512-BF16, most GPUs), and slower where it has to emulate them.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16, "bfloat16: the GPU supports it"
        return torch.float32, "float32: the GPU has no bfloat16"
    if device.type != "cpu":
        return torch.float32, f"float32: nothing tells that bfloat16 is faster on {device.type}"
    for feature, probe in _PROBES.items():
        if getattr(torch.cpu, probe, lambda: False)():
            return torch.bfloat16, f"bfloat16: this processor has {feature}"
    cpu = torch.backends.cpu.get_cpu_capability()
    return torch.float32, f"float32: this processor ({cpu}) has no fast bfloat16"
