"""The generated code is what `make schema` makes of the schema."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import op_fields
from paths import ROOT

FLATC = ROOT / ".cache" / "toolchain" / "bin" / "flatc"
SCHEMA = ROOT / "wasm" / "format" / "tulle.fbs"


@pytest.mark.parametrize(
    ("options", "generated"),
    [
        (["--cpp"], "wasm/format/tulle_generated.h"),
        (["--python", "--gen-onefile", "--gen-object-api"], "py/tulle/pack/schema/tulle_generated.py"),
    ],
    ids=["cpp", "python"],
)
def test_generated_code_is_up_to_date(options: list[str], generated: str, tmp_path: Path) -> None:
    if not FLATC.exists():
        pytest.skip("no flatc of the right version: only the Debian toolchain brings one")
    # Relative to the checkout, which is all that the Debian root has besides /tmp.
    target = ROOT / "build" / "schema" / tmp_path.name
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run([FLATC, *options, "-o", target.relative_to(ROOT), SCHEMA.relative_to(ROOT)], cwd=ROOT, check=True)
    assert (target / Path(generated).name).read_text() == (ROOT / generated).read_text()


def test_fields_for_c_are_up_to_date() -> None:
    assert op_fields.WRITTEN.read_text() == op_fields.fields(), "run `make schema`"
