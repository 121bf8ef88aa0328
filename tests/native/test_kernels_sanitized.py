"""The kernels' cases under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import pytest

from python.test_kernels import *  # noqa: F403

pytestmark = [pytestmark, pytest.mark.usefixtures("address_sanitizer")]  # noqa: F405
