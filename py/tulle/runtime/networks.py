"""Where the package's own networks are."""

from __future__ import annotations

from pathlib import Path

from tulle.errors import TulleError

_PACKAGE = Path(__file__).resolve().parent.parent
# In a wheel, in a wheel for Pyodide, in a checkout.
_FOLDERS = (_PACKAGE / "_models", _PACKAGE / "_pyodide" / "web" / "models", _PACKAGE.parent.parent / "web" / "models")

PALMS = "palm_detection"
HANDS = "hand_landmark"
PEOPLE = "selfie_segmentation"


def find(name: str) -> Path:
    """The file of a network. Raises TulleError if this copy of tulle has none."""
    for folder in _FOLDERS:
        if (folder / f"{name}.tulle").is_file():
            return folder / f"{name}.tulle"
    raise TulleError(f"{name}.tulle is in none of {', '.join(map(str, _FOLDERS))}: run `make models` in a checkout")
