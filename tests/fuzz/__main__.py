"""Read files that were spoilt in every way, and report what must not happen: ``tox -e fuzz``.

A find is an exception other than WeightsError, memory or time over the limits, a crash, a message
that a terminal would obey, wrong weights whose checksums are called right, or a changed file.
Mutant number N of a format is always the same for the same seed: ``--formats pt --only 1234``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpus

HERE = Path(__file__).parent
NEEDS = {"keras": "h5py", "h5": "h5py", "weights.h5": "h5py", "pt": "torch", "pth": "torch", "msgpack": "flax"}
NEEDS |= {"orbax": "orbax", "ckpt": "mindspore", "safetensors": "", "spec": "", "npz": "", "hub": ""}
"""Format -> the package that its files need."""
BATCH = 25
"""Mutants that a worker is given at a time."""
EVERY = {"spec": 1}
"""Of the mutants that are accepted every so many-th is converted too; of others every 20th."""
ENOUGH = 50
"""Finds after which a format is left."""
CPU, WALL = 100.0, 600.0
"""Seconds after which a worker that does not answer is ended; the limits it measures itself."""


class Worker:
    """A process that reads mutants of one format."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        read, write = os.pipe()
        self.answers = os.fdopen(read, "rb", buffering=0)
        paths = [str(HERE), *(entry for entry in sys.path if entry and entry != str(HERE))]
        environment = {**os.environ, "FUZZ_FOLDER": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)}
        self.log = open(self.folder / "seed.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), str(write)],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[write],
            env={"JAX_PLATFORMS": "cpu", "GLOG_v": "3", **environment},
        )
        os.close(write)
        self.name, self.rest = name, b""

    def ask(self, orders: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the answer to each order; the last one may be the find that there is none."""
        assert self.process.stdin is not None
        lines = b"".join(json.dumps({**order, "folder": str(self.folder)}).encode() + b"\n" for order in orders)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(lines)
            self.process.stdin.flush()
        for _ in orders:
            answer = self._answer()
            yield answer
            if "outcome" not in answer:
                return

    def _answer(self) -> dict[str, Any]:
        begin, start = self._cpu(), time.monotonic()
        while b"\n" not in self.rest:
            if select.select([self.answers], [], [], 0.5)[0]:
                part = self.answers.read(1 << 20)
                if not part:
                    code = self.process.wait()
                    said = (self.folder / "seed.log").read_text(errors="replace")[-2000:]
                    return {"find": f"the process crashed ({code}): {said}"}
                self.rest += part
            elif self._cpu() - begin > CPU or time.monotonic() - start > WALL:
                return {"find": f"no answer in {self._cpu() - begin:.0f} s of processor time"}
        line, _, self.rest = self.rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _cpu(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def mutant(self) -> Path | None:
        """The file, or folder, that was being read when the process ended."""
        return next((path for path in self.folder.iterdir() if path.name.startswith("mutant")), None)

    def close(self) -> None:
        """End the process and remove its files."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.answers.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Campaign:
    """The mutants of one format, read one after the other."""

    def __init__(self, name: str, seed: int, keep: Path | None) -> None:
        self.name, self.seed, self.keep = name, seed, keep
        self.next = 0
        self.worker: Worker | None = None
        self.counts = {"mutants": 0, "accepted": 0, "refused": 0, "finds": 0, "converted": 0}
        self.most = {"memory": 0, "seconds": 0.0}
        self.finds: list[str] = []

    def run(self, count: int) -> None:
        """Read the next ``count`` mutants."""
        end = self.next + count
        while self.next < end and len(self.finds) < ENOUGH:
            numbers = range(self.next, min(end, self.next + BATCH))
            answered = self.read([{"index": i, "convert": i % EVERY.get(self.name, 20) == 0} for i in numbers])
            self.next += answered

    def read(self, orders: list[dict[str, Any]]) -> int:
        """Let the worker read some files; return how many it did before it ended."""
        self.worker = self.worker or Worker(self.name)
        keep = "" if self.keep is None else str(self.keep)
        orders = [{"format": self.name, "seed": self.seed, "keep": keep, "convert": False, **order} for order in orders]
        answered = 0
        for order, answer in zip(orders, self.worker.ask(orders), strict=False):
            answered += 1
            self._count(order, answer)
        return answered

    def _count(self, order: dict[str, Any], answer: dict[str, Any]) -> None:
        name = f"{self.name} {order.get('index', order.get('corpus'))}"
        self.counts["mutants"] += 1
        self.counts[answer.get("outcome", "finds")] += 1
        self.counts["converted"] += order["convert"] and answer.get("outcome") == "accepted"
        for key in self.most:
            self.most[key] = max(self.most[key], answer.get(key, 0))
        if answer["find"]:
            self.counts["finds"] += "outcome" in answer
            self.finds.append(f"{name}: {answer['find']}")
            print(f"FIND {self.finds[-1]}", flush=True)
        if "outcome" not in answer:
            self._keep(name.replace(" ", "-"))
            self.close()

    def _keep(self, name: str) -> None:
        source = self.worker.mutant() if self.worker is not None else None
        if source is not None and self.keep is not None:
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, self.keep / f"{name}{source.suffix}")

    def close(self) -> None:
        """End the process."""
        if self.worker is not None:
            self.worker.close()
        self.worker = None


def main() -> int:
    """Fuzz, print a table, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--formats", type=lambda text: text.split(","), metavar="NAMES", help=", ".join(NEEDS))
    parser.add_argument("--mutants", type=int, metavar="N", help="so many of each format")
    parser.add_argument("--seconds", type=float, metavar="N", help="as many as there is time for")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first mutant")
    parser.add_argument("--only", type=int, metavar="N", help="this mutant alone")
    parser.add_argument("--no-corpus", dest="corpus", action="store_false", help="leave out the files that once failed")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy files with finds there")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the figures there")
    args = parser.parse_args()
    names = args.formats or list(NEEDS)
    missing = [name for name in names if NEEDS[name] and importlib.util.find_spec(NEEDS[name]) is None]
    if missing:
        print(f"left out, their packages are not installed: {', '.join(missing)}")
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    campaigns = [Campaign(name, args.seed, args.keep) for name in names if name not in missing]
    try:
        _fuzz(campaigns, args)
    finally:
        for campaign in campaigns:
            campaign.close()
    return _report(campaigns, args)


def _fuzz(campaigns: list[Campaign], args: argparse.Namespace) -> None:
    end = time.monotonic() + (args.seconds or float("inf"))
    for campaign in campaigns:
        campaign.next = args.first if args.only is None else args.only
        if args.corpus and args.only is None:
            _read_corpus(campaign)
    if args.only is not None or args.seconds is None:
        for campaign in campaigns:
            campaign.run(1 if args.only is not None else args.mutants or 1000)
            campaign.close()
        return
    last = float("inf") if args.mutants is None else args.first + args.mutants
    while open_ones := [each for each in campaigns if each.next < last and len(each.finds) < ENOUGH]:
        for campaign in open_ones:
            campaign.run(BATCH)
            if args.report is not None:
                _write(campaigns, args)
            if time.monotonic() > end:
                return


def _read_corpus(campaign: Campaign) -> None:
    """Read the files of a format that failed once."""
    names = corpus.names(campaign.name)
    while names:
        names = names[campaign.read([{"corpus": name, "convert": True} for name in names]) :]


def _write(campaigns: list[Campaign], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    rows = {each.name: {**each.counts, **each.most, "seed": args.seed} for each in campaigns}
    if args.report is not None:
        args.report.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def _report(campaigns: list[Campaign], args: argparse.Namespace) -> int:
    rows = _write(campaigns, args)
    print(f"{'format':12}{'mutants':>9}{'accepted':>10}{'converted':>11}{'refused':>9}{'finds':>7}{'MiB':>7}{'s':>7}")
    for name, row in rows.items():
        counts = f"{row['mutants']:9}{row['accepted']:10}{row['converted']:11}{row['refused']:9}{row['finds']:7}"
        print(f"{name:12}{counts}{int(row['memory']) >> 20:7}{row['seconds']:7.1f}")
    return 1 if any(each.finds for each in campaigns) else 0


if __name__ == "__main__":
    sys.exit(main())
