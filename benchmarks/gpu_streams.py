"""Two directions of a network on one stream and on two: what each takes, as a table in Markdown.

python benchmarks/gpu_streams.py FILE [cuda | cpu]      the CPU tries the script itself
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from convgru.bench import timing
from convgru.torch import ConvGRU
from convgru_torch import bench_cuda, streams

SIZES = {"W2": (20, 8, 64, 64), "small": (20, 1, 32, 32)}
"""Frames, samples, channels and pixels on an axis."""
ROUNDS = 5
HEAD = "| size | CUDA graphs | measure | one stream, ms | two streams, ms | one / two |\n| --- | --- | --- | --- | --- | --- |"


def calls(size: tuple[int, ...], device: str, graphed: bool) -> dict[str, Callable[[], Any]]:
    """Forward and training step of a network with two layers of two directions, in bfloat16."""
    frames, batch, channels, pixels = size
    options: dict[str, Any] = {"cuda_graphs": True} if graphed else {}
    net = ConvGRU(1, [channels, channels], bidirectional=True, device=device, dtype=torch.bfloat16, **options)
    x = torch.randn(frames, batch, 1, pixels, pixels, device=device, dtype=torch.bfloat16)
    cotangent = torch.randn(frames, batch, 2 * channels, pixels, pixels, device=device, dtype=torch.bfloat16)

    def forward() -> None:
        with torch.no_grad():
            net(x)

    def training() -> None:
        net.zero_grad(set_to_none=True)
        net(x)[0].backward(cotangent)

    return {"forward": forward, "training": training}


def measured(call: Callable[[], Any], sample: timing.Sampler) -> tuple[float, float]:
    """Milliseconds on one stream and on two, in turn: the median of each."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS + 1):
        for two, times in found.items():
            streams.TWO = two
            for _ in range(0 if number else 3):  # kernels are compiled, graphs are recorded
                call()
            times.append(1e3 * sample(call, 10))
    return median(found[False][1:]), median(found[True][1:])


def main(file: Path, device: str) -> None:
    """Measure, and write the table anew after each row."""
    if device == "cpu":
        sizes, sample, ways = {"tiny": (2, 1, 4, 8)}, timing.sample, (False,)
    else:
        bench_cuda.place(device, "bfloat16")
        sizes, sample, ways = SIZES, bench_cuda.sampler(), (False, True)
    rows = [HEAD]
    for name, size in sizes.items():
        for graphed in ways:
            for measure, call in calls(size, device, graphed).items():
                one, two = measured(call, sample)
                figures = f"{one:.3f} | {two:.3f} | {one / two:.2f}"
                rows.append(f"| {name} | {'yes' if graphed else 'no'} | {measure} | {figures} |")
                print(rows[-1], flush=True)
                file.write_text("\n".join([*rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cuda")
