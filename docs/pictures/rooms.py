"""Draw the rooms and who may import whom, from the import contracts: rooms.svg for architecture.md.

python docs/pictures/rooms.py (Python 3.11 or newer) draws it anew; tests/docs compares the two.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import tomllib

HERE = Path(__file__).resolve().parent
CONTRACTS = HERE.parents[1] / "pyproject.toml"
WORDS = {
    "__main__": "python -m convgru",
    "cli": "the command line",
    "bench": "times every backend beside its rivals",
    "inspection": "what is in a file",
    "nowcasting": "frames that move; the demo",
    "parity": "backends against the reference",
    "port": "build, load, port",
    "files": "read, write",
    "registry": "from a name to a backend",
    "initialization": "initial values",
    "reference": "NumPy float64",
    "importers": "other systems' layouts",
    "formats": "files, byte by byte",
    "calls": "the check of a call",
    "weights": "a spec with its arrays",
    "equations": "each cell's step, once",
    "spec": "what a network is",
    "errors": "the exceptions",
    "strict_json": "JSON, strictly",
}
FACES = ("torch", "jax", "flax", "mindspore")
WIDTH, ROW, LEFT, GAP = 760, 58, 16, 8
ROOM, RIGHT = 190, 860


def contracts() -> list[dict[str, Any]]:
    """The contracts of import-linter in pyproject.toml."""
    return list(tomllib.loads(CONTRACTS.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"])


def rows() -> list[list[str]]:
    """The layers of the core, from the top."""
    layers = next(each for each in contracts() if each["type"] == "layers")["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def box(x: float, y: float, width: float, name: str, words: str, colour: str) -> str:
    """One room: its name, and a few words on it."""
    small = f'<text x="{x + width / 2:g}" y="{y + 35:g}" class="s">{escape(words)}</text>' if words else ""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{ROW - 14}" rx="4" fill="{colour}"/>'
        f'<text x="{x + width / 2:g}" y="{y + (18 if words else 27):g}">{escape(name)}</text>{small}'
    )


def arrow(*points: tuple[float, float], dashed: bool = False) -> str:
    """A line through the points that ends in an arrowhead."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    way = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{way}"{dash} marker-end="url(#to)"/>'


def picture() -> str:
    """The whole drawing."""
    parts, place = [], {}
    for index, layer in enumerate(rows()):
        y, names = 44 + index * ROW, [name for name in layer if name not in FACES]
        names += ["faces"] if set(FACES) & set(layer) else []
        width = (WIDTH - GAP * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            x = LEFT + column * (width + GAP)
            place[name] = (x + width, y + (ROW - 14) / 2)
            face = name == "faces"
            words = ", ".join(FACES) if face else WORDS[name]
            parts.append(box(x, y, width, name, words, "#fde7c8" if face else "#e8ecf8"))
    height = 44 + len(rows()) * ROW
    forbidden = {name for each in contracts() for name in each.get("forbidden_modules", ()) if name in FACES}
    first = place["faces"][1] - 22
    for index, name in enumerate(each for each in FACES if each in forbidden):
        parts.append(box(RIGHT, first + index * (ROW + 6), ROOM, f"convgru_{name}", "", "#dcf1e0"))
    flax, jax = (first + FACES.index(name) * (ROW + 6) + 22 for name in ("flax", "jax"))
    middle = (WIDTH + LEFT + RIGHT) / 2
    parts += [
        arrow(place["faces"], (RIGHT - 3, place["faces"][1])),
        arrow(place["registry"], (middle, place["registry"][1]), (RIGHT - 3, place["registry"][1]), dashed=True),
        arrow((RIGHT + ROOM, flax), (RIGHT + ROOM + 14, flax), (RIGHT + ROOM + 14, jax), (RIGHT + ROOM + 3, jax)),
    ]
    foot = first + len(FACES) * (ROW + 6) - 20
    down = place["errors"][1] - (place["errors"][1] - place["calls"][1]) / 2
    parts.append(arrow((RIGHT + ROOM / 2, foot), (RIGHT + ROOM / 2, down), (WIDTH + LEFT + 3, down)))
    notes = [
        (LEFT, 26, "convgru: a row imports only rows below it, and no framework"),
        (RIGHT, first - 14, "rooms: one for each framework"),
        (RIGHT - 76, place["registry"][1] - 6, "by name"),
        (RIGHT, down + 20, "definitions, not tools"),
    ]
    texts = "".join(f'<text x="{x:g}" y="{y:g}" class="n">{escape(text)}</text>' for x, y, text in notes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1090" height="{height}" viewBox="0 0 1090 {height}">\n'
        "<style>text{font:14px sans-serif;text-anchor:middle;fill:#222}.s{font-size:11px;fill:#555}"
        ".n{text-anchor:start;font-size:12px}rect{stroke:#8a94b0}polyline{fill:none;stroke:#555;stroke-width:1.4}"
        "</style>\n"
        '<defs><marker id="to" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
        '<path d="M0,0 L7,3 L0,6 z" fill="#555"/></marker></defs>\n'
        f'<rect width="1090" height="{height}" style="stroke:none" fill="white"/>\n'
        + "\n".join(parts)
        + f"\n{texts}\n</svg>\n"
    )


if __name__ == "__main__":
    (HERE / "rooms.svg").write_text(picture(), encoding="utf-8")
