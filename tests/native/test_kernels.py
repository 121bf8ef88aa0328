"""The kernels' cases (tests/python/test_kernels.py) on the native builds, against the same reference."""

from __future__ import annotations

import pytest

from python.test_kernels import *  # noqa: F403

pytestmark = [pytestmark, pytest.mark.usefixtures("shared_library")]  # noqa: F405
