r"""Run the table of cases with the instruction sets capped, on one and on two threads.

One machine's rounding is not another's: which kernels run, and in what order they add, depends on
the instruction set and on the number of threads. So the caps that the frameworks offer stand in for
other machines. From the checkout, in an environment with the frameworks:

    PYTHONPATH=.:backends python benchmarks/parity_matrix.py results \
        [--backends torch,mindspore,jax,flax] [--isa SSE4,AVX2,AVX512] [--threads 1,2] \
        [--dtypes float32,float64] [--cases NAME,NAME] [--every 1] [--table]

Every setting is a process of its own, which leaves its result in the folder ``results``; what is
there already is not run again, so that an interrupted run goes on where it stopped. XLA's compiled
programs are kept there too, for each instruction set. ``--cases`` takes these alone, ``--every``
each n-th. ``--table`` prints what there is, as Markdown, and runs nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# What each framework calls the instruction set up to which it may go.
CAPS: dict[str, dict[str, dict[str, str]]] = {
    "torch": {
        "SSE4": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
        "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        "AVX512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
    },
    "mindspore": {isa: {"CONVGRU_MINDSPORE_CPU_SETUP": "0"} for isa in ("SSE4", "AVX2", "AVX512")},
    "jax": {
        "SSE4": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
        "AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
        "AVX512": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX512"},
    },
}
CAPS["flax"] = CAPS["jax"]
MINDSPORE_MASKS = {"SSE4": 0x1, "AVX2": 0x7, "AVX512": 0x27}
"""The bit masks of MindSpore's own oneDNN; it has no environment variable that does not reach other
frameworks too.
"""


def work(backend: str, isa: str, threads: int, dtype: str, every: int, names: str, result: Path) -> None:
    """Run the table in this process, whose environment is set, and write down what came of it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    began = time.perf_counter()
    effective = _cap_mindspore(isa, threads) if backend == "mindspore" else ""
    from convgru import parity
    from convgru.parity import table

    cache = result.parent / f"xla-{isa}"
    cases = [case for case in table.table() if not names or case.name in names.split(",")][::every]
    report = parity.run(cases, backends=[backend], dtypes=[dtype], cache=cache)
    if backend == "torch":
        import torch

        effective = torch.backends.cpu.get_cpu_capability()
    text = {
        "setting": [backend, isa, threads, dtype],
        "effective": effective,
        "ok": report.ok,
        "failures": report.failures(),
        "versions": report.versions,
        "cases": len({row.case for row in report.rows}),
        "seconds": time.perf_counter() - began,
        "worst": {
            quantity: [row.ratio, row.case, row.leaf, row.error, row.budget]
            for _, _, quantity, _, row in report.summary()
        },
        "ratios": {f"{row.case} {row.quantity}": row.ratio for row in report.rows},
        "controls": {control.fault: control.ratio for control in report.controls},
    }
    temporary = result.with_suffix(".part")
    temporary.write_text(json.dumps(text, indent=1))
    temporary.replace(result)


def _cap_mindspore(isa: str, threads: int) -> str:
    """Cap MindSpore's oneDNN as ``convgru_mindspore.cpu_setup`` does, at any instruction set."""
    os.environ["GLOG_v"] = "3"  # noqa: SIM112 - so MindSpore spells it
    import mindspore

    from convgru_mindspore import cpu_setup

    cpu_setup.absorb_first_error()
    mindspore.set_context(runtime_num_threads=threads)
    dnnl = cpu_setup.library()
    assert isinstance(dnnl, ctypes.CDLL)
    dnnl.dnnl_set_max_cpu_isa(MINDSPORE_MASKS[isa])
    effective = int(dnnl.dnnl_get_effective_cpu_isa())
    assert effective == MINDSPORE_MASKS[isa], f"{effective:#x}"
    return f"{effective:#x}"


def run(args: argparse.Namespace) -> None:
    """Start a process for each setting that has no result yet."""
    args.results.mkdir(exist_ok=True)
    settings = itertools.product(args.backends, args.isa, args.threads, args.dtypes)
    for backend, isa, threads, dtype in settings:
        result = args.results / f"{backend}-{isa}-{threads}-{dtype}.json"
        if result.exists():
            continue
        environment = os.environ | CAPS[backend][isa]
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
        command = [
            sys.executable,
            __file__,
            "--work",
            backend,
            isa,
            str(threads),
            dtype,
            str(args.every),
            args.cases,
            str(result),
        ]
        print(f"{result.stem} …", flush=True)
        done = subprocess.run(command, env=environment, check=False)
        print(f"{result.stem}: {'done' if result.exists() else f'failed with exit code {done.returncode}'}", flush=True)


def table(folder: Path) -> str:
    """Tabulate in Markdown the worst ratio of error to budget for each setting."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    order = {name: place for place, name in enumerate([*CAPS, "SSE4", "AVX2", "AVX512"])}
    results.sort(key=lambda r: (order[r["setting"][0]], order[r["setting"][1]], r["setting"][2:]))
    lines = [
        "| backend | up to | threads | dtype | cases | output | state | gradient | worst case | planted faults miss by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        worst: dict[str, Any] = result["worst"]
        _, case, leaf, *_ = max(worst.values(), key=lambda row: row[0])
        ratios = [f"{worst[quantity][0]:.2f}" for quantity in ("output", "state", "gradient")]
        least = f"{min(result['controls'].values()):.1g}" if result["controls"] else ""
        cells = [*map(str, result["setting"]), str(result["cases"]), *ratios, f"{case}, {leaf}", least]
        lines.append(f"| {' | '.join(cells)} |")
    versions: dict[str, str] = {}
    for result in results:
        versions.update(result["versions"])
    worst_of_all = max((max(row[0] for row in result["worst"].values()) for result in results), default=0.0)
    failures = sum(len(result["failures"]) for result in results)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join([*lines, "", f"Worst of all: {worst_of_all:.2f}; failures: {failures}. {named}.", ""])


def main() -> None:
    """Read the command line."""
    if sys.argv[1:2] == ["--work"]:
        backend, isa, threads, dtype, every, names, result = sys.argv[2:]
        work(backend, isa, int(threads), dtype, int(every), names, Path(result))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--backends", type=lambda text: text.split(","), default=list(CAPS))
    parser.add_argument("--isa", type=lambda text: text.split(","), default=["SSE4", "AVX2", "AVX512"])
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["float32", "float64"])
    parser.add_argument("--cases", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table:
        run(args)
    print(table(args.results))


if __name__ == "__main__":
    main()
