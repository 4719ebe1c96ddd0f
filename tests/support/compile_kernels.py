"""Compile every Triton kernel for a GPU, without one; the interpreter checks no types."""

import time

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from convgru_torch.accelerator import kernels, kernels_back

TARGET = GPUTarget("cuda", 90, 32)
KERNELS = [getattr(kernels, name) for name in ("gru_reset", "gru_blend", "gru_after", "lstm", "rnn")] + [
    getattr(kernels_back, name)
    for name in ("gru_blend_back", "gru_reset_back", "gru_after_back", "lstm_back", "rnn_back")
]
OPTIONAL = {"bias", "bias_hn", "invalid", "low", "given", "conv", "carry", "held", "pi", "pf", "po"}
NUMBERS = {"count", "cols", "inner", "hidden", "sample"}
VARIANTS = [
    {"COMPUTE": triton.language.float32, "data": "bf16", "state": "fp32", "outer": "sigmoid", "inner": "tanh"},
    {"COMPUTE": triton.language.float64, "data": "fp64", "state": "fp64", "outer": "hard_sigmoid", "inner": "relu"},
]
STATE = {"h", "c", "new", "new_h", "new_c", "carry", "dc", "given", "y"}


def compiled(kernel, variant, bare):
    """Compile a kernel; ``bare``: without any argument that it may lack."""
    names = {"COMPUTE": variant["COMPUTE"], "BLOCK": 1024, "WIDE": False, "PEEP": 0 if bare else 2}
    names |= {"OUTER": variant["outer"], "INNER": variant["inner"]}
    signature, constants = {}, {}
    for name in kernel.arg_names:
        required = kernel.fn.__name__.startswith("gru") and name == "carry"
        if name in names:
            signature[name], constants[name] = "constexpr", names[name]
        elif name in NUMBERS:
            signature[name] = "i32"
        elif bare and name in OPTIONAL and not required and not (name == "held" and "back" in kernel.fn.__name__):
            signature[name], constants[name] = "constexpr", None
        else:
            wide = variant["state"] if name in STATE else variant["data"]
            signature[name] = "*" + ("u8" if name == "invalid" else wide)
    return triton.compile(ASTSource(kernel, signature, constants), target=TARGET)


if __name__ == "__main__":
    for number, kernel in enumerate(KERNELS):
        bare = number % 2 == 1
        begin = time.perf_counter()
        binary = compiled(kernel, VARIANTS[bare], bare)
        assert "ld.global" in binary.asm["ptx"]
        local = "local" if "ld.local" in binary.asm["ptx"] else "registers"
        print(kernel.fn.__name__, VARIANTS[bare]["data"], local, f"{time.perf_counter() - begin:.2f} s")
