"""Model cards: every model of the pages has one, and what it says of the files is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import model_cards
from common import SetupError


@pytest.fixture(scope="module")
def models(demo_models: Path) -> dict[str, dict[str, Any]]:
    """models.json, of the models as they are now."""
    return json.loads((demo_models / "models.json").read_text())


def test_the_facts_are_those_of_the_files(models: dict[str, dict[str, Any]]) -> None:
    cards = model_cards.written(models)
    stale = [card.name for card, text in cards.items() if card.read_text() != text]
    assert stale == [], "run scripts/model_cards.py"
    index = (model_cards.CARDS / "README.md").read_text()
    assert [card.name for card in cards if f"({card.name})" not in index] == []


def test_a_change_of_the_files_is_noticed(models: dict[str, dict[str, Any]]) -> None:
    changed = {**models, "hand_landmark_lite": {**models["hand_landmark_lite"], "tulle_bytes": 1}}
    card = model_cards.CARDS / "hand_landmark_lite.md"
    assert model_cards.written(changed)[card] != card.read_text()


def test_a_model_without_a_card_is_an_error(models: dict[str, dict[str, Any]]) -> None:
    stray = {"stray": {**models["hand_landmark_lite"], "card": "no_such_card"}}
    with pytest.raises(SetupError, match=r"no_such_card\.md is missing"):
        model_cards.written(stray)


def test_every_card_tells_licence_source_quality_and_use() -> None:
    for card in model_cards.CARDS.glob("*.md"):
        if card.name == "README.md":
            continue
        text = card.read_text()
        for part in ("Apache-2.0", "- from: ", "**Quality.**", "**Use.**", "tulle's file"):
            assert part in text, f"{card.name} lacks {part}"
