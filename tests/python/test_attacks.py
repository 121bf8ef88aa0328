"""The files of tests/attacks in CPython: each gives `tulle.load` its own error, and `unpack` reads or refuses it."""

from __future__ import annotations

import time

import pytest

import tulle
from attacks.extremes import expected, extremes, outcome_of, run
from attacks.files import ATTACKS, Attack
from tulle import TulleError
from tulle.pack import unpack

# To refuse a file takes less than 0.05 s on a quiet machine; more than this is a hang on any.
MOST_SECONDS = 2.0


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_is_refused_with_its_own_error(attack: Attack) -> None:
    tulle.runtime.model.open_library("simd")  # compiles it the first time
    start = time.perf_counter()
    with pytest.raises(TulleError, match=attack.error):
        tulle.load(attack.data, variant="simd")
    assert time.perf_counter() - start < MOST_SECONDS
    check_unpack(attack.data)


def check_unpack(data: bytes) -> None:
    start = time.perf_counter()
    try:
        unpack(data)  # some of these can be looked at
    except TulleError as error:
        assert str(error)
    assert time.perf_counter() - start < MOST_SECONDS


def test_attributes_at_their_extremes() -> None:
    outcomes = {}
    for case in extremes():
        start = time.perf_counter()
        outcomes[case.name] = outcome_of(run(case.data))
        assert time.perf_counter() - start < MOST_SECONDS, case.name
        check_unpack(case.data)
    assert outcomes == expected(), "if that is meant: python tests/attacks/extremes.py"
