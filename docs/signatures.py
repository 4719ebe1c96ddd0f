"""Griffe extension: constructors with every option in their signatures, docstrings as Markdown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import griffe

NETWORK = "convgru.spec.builders.network"
EXECUTION = "convgru_torch.execution.Execution"
TABLES = ("DEFAULTS", "OWN")  # of a room's options.py: defaults that convgru.network does not have


class Signatures(griffe.Extension):
    """Shows ``**options: Unpack[Table]`` as ``convgru.spec.options.explicit`` shows it at run time.

    The packages are read, not imported, so that the site needs no framework.
    """

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Change all functions and docstrings of a package once it is read."""
        for item in everything(pkg):
            if isinstance(item, griffe.Function):
                expand(item)
            if item.docstring is not None:
                item.docstring.value = as_markdown(item.docstring.value)


def everything(item: Any) -> Iterator[Any]:
    """A module or class and all that is defined in it, without what it imports."""
    yield item
    for member in item.members.values():
        if not member.is_alias:
            yield from everything(member) if member.is_module or member.is_class else [member]


def expand(function: griffe.Function) -> None:
    """Replace ``**options`` by the fields of its table, with their defaults, keyword-only."""
    for parameter in list(function.parameters):
        annotation = parameter.annotation
        if parameter.kind is not griffe.ParameterKind.var_keyword or not isinstance(annotation, griffe.ExprSubscript):
            continue
        if not str(annotation.left).endswith("Unpack"):
            continue
        table = function.modules_collection[annotation.slice.canonical_path]
        fields = dict(fields_of(table))
        usual = defaults(table, function.modules_collection)
        kept = {each.name for each in function.parameters}
        del function.parameters[parameter.name]
        for name in sorted(fields, key=list(usual).index):
            if name not in kept:
                function.parameters[name] = griffe.Parameter(
                    name, annotation=fields[name], kind=griffe.ParameterKind.keyword_only, default=usual[name]
                )


def fields_of(table: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a TypedDict and of those that it inherits from, by name."""
    for base in table.bases:
        if not str(base).endswith("TypedDict"):
            yield from fields_of(table.modules_collection[base.canonical_path])
    for name, attribute in table.attributes.items():
        yield name, attribute.annotation


def defaults(table: Any, modules: Any) -> dict[str, Any]:
    """The default of each option as it is written, in the order of the signatures."""
    usual = {each.name: each.default for each in modules[NETWORK].parameters} | {"reset": "'before'"}
    usual |= {name: each.value for name, each in modules[EXECUTION].attributes.items()}
    for name in TABLES:
        written = table.module.members.get(name)
        if written is not None and not written.is_alias:
            entries = ast.parse(str(written.value), mode="eval").body
            assert isinstance(entries, ast.Dict)
            pairs = zip(entries.keys, entries.values, strict=True)
            usual |= {str(ast.literal_eval(key)): ast.unparse(value) for key, value in pairs if key is not None}
    return usual


def as_markdown(text: str) -> str:
    """Write as Markdown what the frameworks' docstrings have of reStructuredText.

    That is ``::`` before code, MindSpore's formulas (of plain characters, so that they may stand as
    code), several arguments before one colon, and ``options``, which the signature spells out.
    """
    text = re.sub(r"::\n\n(?= )", ":\n\n", text)
    text = re.sub(r"^\.\. math::\n((?: +.*\n|\n)+)", lambda m: as_code(m[1]), text, flags=re.MULTILINE)
    text = re.sub(r"^\.\. math:: (.+)\n", lambda m: as_code(m[1]), text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]+)`", lambda m: f"`{plain(m[1])}`", text)
    text = "\n\n".join(map(equations, text.split("\n\n")))
    text = re.sub(r"^\* is cross-correlation", r"\\* is cross-correlation", text, flags=re.MULTILINE)
    text = SEVERAL.sub(lambda m: "\n".join(m[1] + name + m[3] for name in m[2].split(", ")), text)
    others = OTHERS.search(text)
    if others is not None:
        words = " ".join(others[1].split())
        text = OTHERS.sub("", text) + f"\n\nOther options: {words}\n"
    return text


def equations(paragraph: str) -> str:
    """Show a paragraph of equations as code; elsewhere a product is no emphasis: W*x + U*h."""
    if re.match(r"[a-z][', a-z]* = .*[σφ]", paragraph):
        return re.sub("^", "    ", paragraph, flags=re.MULTILINE)
    lines = paragraph.split("\n")
    return "\n".join(line if line.startswith("    ") else PRODUCT.sub(r"\\*", line) for line in lines)


PRODUCT = re.compile(r"(?<=[\w)])\*(?=[\w(])(?=[^`]*(?:`[^`]*`[^`]*)*$)")
SEVERAL = re.compile(r"^( +)([\w*]+(?:, [\w*]+)+)((?: \([^)]*\))?:(?: .*)?(?:\n\1 +.*)*)$", re.MULTILINE)
OTHERS = re.compile(r"^    (?:\*\*)?(?:options|execution)(?: \([^)]*\))?: (.*(?:\n {5,}.*)*)\n?", re.MULTILINE)


def as_code(block: str) -> str:
    """A formula as an indented block."""
    lines = [line.strip() for line in plain(block).splitlines()]
    return "\n" + "".join(f"    {line}\n" for line in lines if line) + "\n"


def plain(formula: str) -> str:
    """A formula without TeX's commands."""
    formula = re.sub(r",?\s*\\\\", "\n", formula)
    formula = re.sub(r",?\s*\\quad\s*", "    ", formula)
    return re.sub(r"[{}]|\\(?=\w)", "", formula)
