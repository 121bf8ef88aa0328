#!/usr/bin/env python3
"""Writes the tables of facts into docs/model-cards/*.md, from demos/models/models.json and the models themselves.

    python scripts/model_cards.py [--check]

Each card's text is written by hand; its facts are between two marks, and only these are written. With --check nothing
is written, and outdated cards are listed. Run after scripts/build_demo.py.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import build_demo
from common import ROOT, SetupError, main_guard, say
from tulle.files import write_bytes
from tulle.graph import Graph
from tulle.pack import unpack

CARDS = ROOT / "docs" / "model-cards"
BEGIN, END = "<!-- facts -->", "<!-- /facts -->"
MARKS = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the facts into the model cards.")
    parser.add_argument("--check", action="store_true", help="only tell which are out of date")
    check = parser.parse_args().check
    stale = [card for card, text in written().items() if card.read_text() != text]
    if check and stale:
        names = ", ".join(card.name for card in stale)
        raise SetupError(f"out of date: {names}; run scripts/build_demo.py and scripts/model_cards.py")
    for card in stale:
        write_bytes(card, written()[card].encode())
        say(f"{card.relative_to(ROOT)}: facts written")


def written(models: dict[str, dict[str, Any]] | None = None) -> dict[Path, str]:
    """The up-to-date text of every card, for the models of models.json.

    Raises SetupError if a card is missing or has no place for facts.
    """
    models = models or json.loads((build_demo.TARGET / "models.json").read_text())
    cards: dict[Path, str] = {}
    for name in dict.fromkeys(facts["card"] for facts in models.values()):
        card = CARDS / f"{name}.md"
        if not card.is_file():
            raise SetupError(f"{card.relative_to(ROOT)} is missing: a model of models.json names it as its card")
        text = card.read_text()
        if not MARKS.search(text):
            raise SetupError(f"{card.relative_to(ROOT)} has no {BEGIN} ... {END}")
        table = facts_table([facts for facts in models.values() if facts["card"] == name])
        begin, end = MARKS.split(text, maxsplit=1)
        cards[card] = f"{begin}{BEGIN}\n{table}{END}{end}"
    return cards


def facts_table(models: list[dict[str, Any]]) -> str:
    """The facts of the files, one row per model, with those that all share above; rounded for readers."""
    first = models[0]
    graph = unpack((build_demo.TARGET / first["file"]).read_bytes())
    lines = [
        f"- from: {origin(first['source'])}, {first['licence']}",
        f"- input: {shapes(graph, graph.inputs)}, RGB from 0 to 1",
        f"- output: {shapes(graph, graph.outputs)}",
        "",
        "| model | weights | zeros | multiply-adds | TFLite file | tulle's file |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for facts in models:
        tflite = "" if facts["tflite_bytes"] is None else f"{facts['tflite_bytes'] / 1e6:.2f} MB"
        lines.append(
            f"| `{facts['name']}` | {facts['weights'] / 1e6:.2f} M | {1 - facts['nonzero'] / facts['weights']:.0%} "
            f"| {facts['macs'] / 1e6:.0f} M | {tflite} | {facts['tulle_bytes'] / 1e6:.2f} MB |"
        )
    return "\n".join(lines) + "\n"


def origin(source: str) -> str:
    """The origin of a model, without how it came to this machine."""
    return "published by MediaPipe" if source.startswith(("published", "http")) else source


def shapes(graph: Graph, names: list[str]) -> str:
    return ", ".join(f"`{name}` {'x'.join(map(str, graph.tensors[name].shape))}" for name in names)


if __name__ == "__main__":
    with main_guard():
        main()
