r"""Write the pages of the examples: what each shows, what it printed, its picture, its source.

From the checkout, in an environment with everything that the examples need, matplotlib too:

    PYTHONPATH=.:backends python docs/examples/pages.py [NAME ...]
    PYTHONPATH=.:backends python docs/examples/pages.py --keep [NAME ...]

The first form runs the examples; the second keeps what they printed, after a change of comments.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
NAMES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
BEGIN, END = "<!-- output: begin -->", "<!-- output: end -->"


def main(arguments: list[str]) -> None:
    """Write the pages of the examples that are named, or of all, and the list of them."""
    for name in [argument for argument in arguments if argument != "--keep"] or NAMES:
        path = FOLDER / f"{name}.md"
        kept = kept_output(path.read_text(encoding="utf-8")) if "--keep" in arguments else run(name)
        path.write_text(page(name, kept), encoding="utf-8")
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")


def parts(name: str) -> tuple[str, str, str]:
    """Return the title of an example, what its docstring says, in Markdown, and the code below."""
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    words = (ast.get_docstring(tree) or "").replace("``", "`")
    title, _, rest = words.partition(": ")
    code = "".join(source.splitlines(keepends=True)[tree.body[0].end_lineno or 0 :]).lstrip()
    return title, rest[:1].upper() + rest[1:], code


def page(name: str, output: str) -> str:
    """Return the page of an example, with what is to stand between the marks of its output."""
    title, words, code = parts(name)
    return f"# {title}\n\n{words}\n\n{BEGIN}\n{output}{END}\n\n`examples/{name}.py`:\n\n```py\n{code}```\n"


def kept_output(text: str) -> str:
    """Return what stands between the marks of a page."""
    return text.partition(f"{BEGIN}\n")[2].partition(END)[0]


def index() -> str:
    """Return the page that lists the examples."""
    lines = "".join(f"- [{parts(name)[0]}]({name}.md): {parts(name)[1].partition('.')[0]}.\n" for name in NAMES)
    return (
        "# Examples\n\nEach example is one script in `examples/`, for a CPU and a minute or two. Its page shows what the script\n"
        "printed, and says what to change; on the site it is also a notebook to download. CI runs them with fewer steps of\n"
        "training. They take no options. For a short run call `main` with other arguments, in that folder:\n"
        "`python -c 'import moving_digits as m; m.main(steps=20)'`.\n\n"
        f"{lines}- [Forecasting your own frames](../guides/forecasting.md): radar, and whatever else moves "
        "(`examples/nowcast`).\n"
    )


def run(name: str) -> str:
    """Run an example; return what it printed, and its picture if it returned rows of frames."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    printed, begin = io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(printed):
        result = module.main()
    seconds = time.process_time() - begin
    text = f"```sh\npython examples/{name}.py\n```\n\n```text\n{printed.getvalue()}```\n\n"
    text += f"{max(1, float(f'{seconds:.1g}')):.0f} s of one core.\n"
    if isinstance(result, dict) and "picture" in result:
        draw(FOLDER / f"{name}.png", result["picture"])
        text += f"\n![{', '.join(result['picture'])}]({name}.png)\n"
    return text


def draw(path: Path, rows: dict[str, np.ndarray]) -> None:
    """Draw rows of images (N, H, W) or (N, H, W, 3), each under its name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    count = max(map(len, rows.values()))
    height, width = next(iter(rows.values())).shape[1:3]
    size = (7.0, 7.0 / count * len(rows) * height / width + 0.25 * len(rows))
    figure, axes = plt.subplots(len(rows), count, figsize=size, squeeze=False, layout="constrained")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_title(name, loc="left", fontsize=8)
        for axis, image in zip(line, images, strict=False):
            axis.imshow(np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for axis in line:
            axis.axis("off")
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
