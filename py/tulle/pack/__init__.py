"""Writer and reader of `.tulle` files; docs/format.md is the specification.

    data = tulle.pack.pack(graph)      # a lowered Graph -> bytes
    graph = tulle.pack.unpack(data)    # and back

`schema/` holds the code that flatc generates from wasm/format/tulle.fbs (`make schema`).
"""

from tulle.pack.reader import unpack
from tulle.pack.writer import pack

__all__ = ["pack", "unpack"]
