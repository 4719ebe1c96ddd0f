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
FLOAT, DOUBLE = triton.language.float32, triton.language.float64
ALIGNED = [["tt.divisibility", 16]]
# What a launch makes of its arguments: a number that is 1 is a constant, as that of channels last,
# and what 16 divides is said to be so.
VARIANTS = [
    {"COMPUTE": FLOAT, "data": "bf16", "state": "fp32", "OUTER": "sigmoid", "INNER": "tanh"}
    | {"bare": False, "WIDE": False, "ones": {"inner"}, "aligned": True},
    {"COMPUTE": DOUBLE, "data": "fp64", "state": "fp64", "OUTER": "hard_sigmoid", "INNER": "tanh"}
    | {"bare": True, "WIDE": True, "ones": NUMBERS, "aligned": False},
]
STATE = {"h", "c", "new", "new_h", "new_c", "carry", "dc", "given", "y"}


def compiled(kernel, variant):
    """Compile a kernel; ``bare``: without any argument that it may lack."""
    bare = variant["bare"]
    names = {"BLOCK": 1024, "PEEP": 0 if bare else 2} | {n: variant[n] for n in ("COMPUTE", "WIDE", "OUTER", "INNER")}
    signature, constants, attributes = {}, {}, {}
    for number, name in enumerate(kernel.arg_names):
        required = kernel.fn.__name__.startswith("gru") and name == "carry"
        if name in names:
            signature[name], constants[name] = "constexpr", names[name]
        elif name in variant["ones"]:
            signature[name], constants[name] = "constexpr", 1
        elif name in NUMBERS:
            signature[name] = "i32"
        elif bare and name in OPTIONAL and not required and not (name == "held" and "back" in kernel.fn.__name__):
            signature[name], constants[name] = "constexpr", None
        else:
            wide = variant["state"] if name in STATE else variant["data"]
            signature[name] = "*" + ("u8" if name == "invalid" else wide)
        if variant["aligned"] and signature[name] != "constexpr" and name != "invalid":
            attributes[number,] = ALIGNED
    return triton.compile(ASTSource(kernel, signature, constants, attributes), target=TARGET)


if __name__ == "__main__":
    for kernel in KERNELS:
        for variant in VARIANTS:
            begin = time.perf_counter()
            binary = compiled(kernel, variant)
            text = binary.asm["ptx"]
            assert "ld.global" in text
            # Eight numbers of bfloat16 at once, four of float32: as much as memory gives a thread.
            assert not variant["aligned"] or "ld.global.v4.b32" in text, text
            local = "local" if "ld.local" in text else "registers"
            print(kernel.fn.__name__, variant["data"], local, f"{time.perf_counter() - begin:.2f} s")
