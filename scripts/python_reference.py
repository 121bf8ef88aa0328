"""The Python reference as Markdown, one text for each public module: every name of its `__all__`, from its docstring.

griffe reads the sources without importing them, so PyTorch need not be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from griffe import Alias, Class, Function, GriffeLoader, Module, Object, Parser

from common import ROOT, SetupError

MODULES = (
    "", "runtime", "background", "hands", "image", "sparsify", "train", "graph", "tflite", "onnx", "zoo", "passes",
    "ops", "pack",
)  # fmt: skip
"""Below `tulle`, in the order of the pages."""


def reference() -> dict[str, str]:
    """Dotted name of each module -> Markdown.

    Raises SetupError if a public name has no docstring.
    """
    loader = GriffeLoader(
        search_paths=[ROOT / "py"], docstring_parser=Parser.google, docstring_options={"warnings": False}
    )
    package = loader.load("tulle")
    loader.resolve_aliases(external=False)
    assert isinstance(package, Module)
    pages = {".".join(filter(None, ("tulle", name))): package[name] if name else package for name in MODULES}
    undocumented = [f"{name}.{entry.name}" for name, module in pages.items() for entry in undescribed(module)]
    if undocumented:
        raise SetupError(f"without a docstring: {', '.join(undocumented)}")
    return {name: "\n".join(module_page(name, module, pages)) for name, module in pages.items()}


def public(module: Module) -> Iterator[tuple[str, Object]]:
    """The public names and what they stand for."""
    names = module.exports or [name for name, entry in module.members.items() if entry.is_public and not entry.is_alias]
    for name in map(str, names):
        entry = target(module[name])
        # A function that hides the module it is in, as tulle.passes.lower.
        if isinstance(entry, Module) and module.parent and name in entry.members:
            entry = target(entry[name])
        yield name, entry


def members(entry: Class) -> Iterator[Object]:
    """The public methods and properties of a class."""
    for name, member in entry.members.items():
        described = isinstance(member, Function) or member.docstring
        if (not name.startswith("_") or name in ("__call__", "__iter__", "__len__")) and described:
            yield target(member)


def undescribed(module: Module) -> Iterator[Object]:
    return (entry for _, entry in public(module) if not entry.docstring)


def target(entry: Object | Alias) -> Object:
    return entry.final_target if isinstance(entry, Alias) else entry


# ---- Markdown -----------------------------------------------------------------------------------------------------


def module_page(name: str, module: Module, pages: dict[str, Module]) -> Iterator[str]:
    yield f"# {name}\n"
    yield from docstring(module)
    for public_name, entry in public(module):
        if isinstance(entry, Module):
            path = f"{name}.{public_name}"
            assert path in pages, f"{path} is public, and has no page"
            yield f"## [{public_name}]({path}.md)\n\n{summary(entry)}\n"
        else:
            yield f"## {public_name}\n"
            yield from definition(public_name, entry)


def definition(name: str, entry: Object) -> Iterator[str]:
    """Signature and docstring, and those of the methods."""
    if isinstance(entry, Class):
        yield f"```python\nclass {signature(name, entry)}\n```\n"
        yield from docstring(entry)
        for member in members(entry):
            yield f"### {name}.{member.name}\n"
            yield from definition(member.name, member)
        return
    if isinstance(entry, Function):
        yield f"```python\n{signature(name, entry)}\n```\n"
    elif entry.annotation:
        yield f"```python\n{name}: {entry.annotation}\n```\n"
    yield from docstring(entry)


def signature(name: str, entry: Class | Function) -> str:
    """A call with its types; one parameter a line if it is long."""
    returns = f" -> {entry.returns}" if isinstance(entry, Function) and entry.returns else ""
    text = re.sub(r"\((self|cls)(, )?", "(", entry.signature(name=name) or name, count=1)
    if len(text) <= 88:
        return text
    inside = text[text.index("(") + 1 : len(text) - len(returns) - 1]
    return f"{name}(\n" + "".join(f"    {line},\n" for line in split(inside)) + f"){returns}"


def split(arguments: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "[({") - (character in "])}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def docstring(entry: Object) -> Iterator[str]:
    for section in entry.docstring.parsed if entry.docstring else ():
        if section.kind.value == "text":
            yield f"{section.value}\n"
        elif section.kind.value in ("parameters", "attributes"):
            for field in section.value:
                also = f" {field.annotation}" if field.name.endswith(",") else ""  # `x, y: ...`
                yield f"- `{field.name}{also}`: {indented(field.description)}"
            yield ""
        else:
            raise SetupError(f"{entry.path}: no form is known for the docstring's section {section.kind.value}")


def indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def summary(entry: Object) -> str:
    return entry.docstring.value.partition("\n\n")[0] if entry.docstring else ""
