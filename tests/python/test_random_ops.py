"""Random small models in every op and attribute, each against LiteRT.

`TULLE_RANDOM_OPS=20000 pytest tests/python/test_random_ops.py` tries more of them; `python tests/random_models.py`
shows what they cover.
"""

from __future__ import annotations

import os

import pytest

import random_models

COUNT = int(os.environ.get("TULLE_RANDOM_OPS") or 600)


def test_random_models_agree_with_litert() -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    failures, coverage = random_models.run(COUNT, seed=0)
    assert not failures, "\n".join(failures)
    rare = [kind for kind in random_models.OPS if coverage[kind] < COUNT / 100]
    assert not rare, f"hardly covered: {rare}"


def test_a_wrong_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is not blind: with no room for rounding it reports differences."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    monkeypatch.setattr(random_models, "TOLERANCE", 1e-12)
    failures, _ = random_models.run(20, seed=0)
    assert 5 < len(failures) < 20
