"""The files of tests/attacks under AddressSanitizer and UndefinedBehaviorSanitizer, of 32 bits as in wasm."""

from __future__ import annotations

import pytest

import tulle
from attacks.extremes import expected, extremes, outcome_of, run
from attacks.files import ATTACKS, Attack
from tulle import TulleError

pytestmark = pytest.mark.usefixtures("address_sanitizer")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_is_refused_with_its_own_error(attack: Attack) -> None:
    with pytest.raises(TulleError, match=attack.error):
        tulle.load(attack.data, variant="simd")


@pytest.mark.thorough
def test_attributes_at_their_extremes() -> None:
    assert {case.name: outcome_of(run(case.data)) for case in extremes()} == expected()
