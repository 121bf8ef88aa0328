"""`.tulle` files as records of the schema, for tests that write what tulle itself would not."""

from __future__ import annotations

from typing import Any

import flatbuffers

from tulle.pack.schema import tulle_generated as schema

Model = Any  # schema.ModelT: the generated code has no types


def records(data: bytes) -> Model:
    """A file's records, to be changed: without its checksum, which would tell."""
    model = schema.ModelT.InitFromPackedBuf(data)
    model.checksum = None
    return model


def file_of(model: Model, builder: flatbuffers.Builder | None = None) -> bytes:
    """Records as a file again."""
    builder = builder or flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TULL")
    return bytes(builder.Output())
