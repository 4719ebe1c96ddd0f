"""The Python blocks of README and docs: each page runs as pasted, in order, in one room of CI."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS: dict[str, tuple[str, ...]] = {
    "core": ("docs/networks.md", "docs/choosing.md", "docs/extending.md"),
    "torch": (
        "docs/torch.md",
        "docs/guides/forecasting.md",
        "docs/compat/pytorch_convgru.md",
        "docs/compat/biconvgru.md",
        "docs/compat/convlstm_pytorch.md",
        "docs/compat/bidirectional_conv_lstm.md",
        "docs/compat/convolutional_rnn.md",
        "docs/parity.md",
    ),
    "jax": ("docs/jax.md",),
    "flax": ("docs/flax.md",),
    "keras": ("docs/coming-from.md", "docs/guides/own-model.md"),
    "all": (
        "README.md",
        "docs/index.md",
        "docs/guides/training.md",
        "docs/guides/streaming.md",
        "docs/guides/devices.md",
        "docs/guides/porting.md",
        "docs/guides/proving.md",
    ),
    "gpu": ("docs/gpu.md",),
    "mindspore": (
        "docs/mindspore.md",
        "docs/compat/mindspore_pytorch_convgru.md",
    ),
}
"""The pages by the room, a folder of tests, whose test_docs.py runs them; ``gpu`` is torch's."""


def blocks(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def pages() -> list[str]:
    """The pages that have Python blocks."""
    files = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
    names = [path.relative_to(ROOT).as_posix() for path in files]
    return sorted(name for name in names if blocks(name))


def run(
    page: str, given: Mapping[str, Any] = {}, leave_out: str | None = None, files: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Run the blocks of a page as its reader pastes them, one after another; return their names.

    They are kept in the current folder, which should be an empty one.

    Args:
        page: path from the top of the checkout.
        given: what the reader has already, by name.
        files: writes the files that the reader has, again before each block.
        leave_out: lines that match this are not run, for what they need is not installed.
    """
    module = sys.modules["page"] = ModuleType("page")  # MindSpore looks for names in the module
    names = vars(module)
    names |= given
    for number, block in enumerate(blocks(page)):
        text = block if leave_out is None else re.sub(f".*{leave_out}.*\n", "\n", block)
        if files is not None:
            files()
        file = Path(f"{page.replace('/', '_')}_{number}.py")  # MindSpore reads the source of what it compiles
        file.write_text(text, encoding="utf-8")
        exec(compile(text, str(file.resolve()), "exec"), names)
    return names
