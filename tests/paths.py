"""Where the tests find things."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The TFLite models that scripts/fetch_models.py fetches.
MODELS = ROOT / ".cache" / "models"

# The TFLite models that tulle made sparse and that lie in the repository.
WEIGHTS = ROOT / "demos" / "weights"

# The built WebAssembly modules.
WASM = ROOT / "web" / "dist"

# Pictures, weights and wheels that are not part of the project. A test that needs one skips where it is absent.
SHARED = Path(os.environ.get("TULLE_SHARED") or ROOT.parent / "shared")
