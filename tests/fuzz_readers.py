"""Mutated TFLite and ONNX files: whatever comes in, a model or a TulleError comes out, soon and in little memory.

    python tests/fuzz_readers.py tflite --count 10000 --seed 0

changes fields of the tests' models (shapes, indices, options, constants; a few in a file, or its bytes), converts them
and prints each kind of failure once, with where the file was written that shows it. What a seed makes never changes.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FAILURES = ROOT / "build" / "fuzz"

MOST_SECONDS = 5.0  # for one file
MOST_BYTES = 3 << 30  # of address space on top of what is mapped at the start

NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 16, 127, 128, 255, 256, 65535, 65536, 1 << 20, 1 << 28, 2**31 - 1, -1, -2, -(2**31)]
REALS = [0.0, -0.0, 1.0, -1.0, 0.5, 255.0, 1e-40, 1e30, -1e30, float("inf"), float("-inf"), float("nan")]


class Slow(Exception):
    """A file took more than MOST_SECONDS."""


# ---- mutation -------------------------------------------------------------------------------------------------------


def number(random: np.random.Generator, old: int) -> int:
    choice = int(random.integers(4))
    return [old + 1, old - 1, int(random.integers(20)), int(random.choice(NUMBERS))][choice]


def mutate_list(random: np.random.Generator, values: list) -> list:
    values = list(values)
    kind = int(random.integers(5)) if values else 0
    if kind == 0:
        values.insert(int(random.integers(len(values) + 1)), int(random.integers(8)))
    elif kind == 1:
        del values[int(random.integers(len(values)))]
    elif kind == 2:
        i, j = random.integers(len(values), size=2)
        values[i], values[j] = values[j], values[i]
    else:
        i = int(random.integers(len(values)))
        values[i] = float(random.choice(REALS)) if isinstance(values[i], float) else number(random, int(values[i]))
    return values


def mutate_flatbuffer(random: np.random.Generator, data: bytes) -> bytes:
    """Some fields of a .tflite file changed, by way of the schema's object API."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for _ in range(int(random.integers(1, 4))):
        owner: Any = model
        while True:  # down to some field
            names = [name for name, value in vars(owner).items() if value is not None]
            name = str(random.choice(names))
            value = getattr(owner, name)
            if isinstance(value, list) and value and hasattr(value[0], "__dict__"):
                if random.random() < 0.03:
                    if random.random() < 0.5:
                        value.pop(int(random.integers(len(value))))
                    else:
                        value.append(value[int(random.integers(len(value)))])
                    break
                owner = value[int(random.integers(len(value)))]
            elif hasattr(value, "__dict__"):
                owner = value
            else:
                break
        if isinstance(value, bool | np.bool_):
            setattr(owner, name, not value)
        elif isinstance(value, int):
            setattr(owner, name, number(random, value))
        elif isinstance(value, float):
            setattr(owner, name, float(random.choice(REALS)))
        elif isinstance(value, list | np.ndarray) and not (len(value) and hasattr(value[0], "__dict__")):
            changed = mutate_list(random, list(value))
            setattr(owner, name, np.array(changed, np.int64).astype(np.uint8) if name == "data" else changed)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def mutate_protobuf(random: np.random.Generator, data: bytes) -> bytes:
    """Some fields of an ONNX file changed."""
    import onnx

    model = onnx.load_model_from_string(data)
    for _ in range(int(random.integers(1, 4))):
        message: Any = model
        while True:
            fields = [field for field, _ in message.ListFields()]
            if not fields:
                break
            field = fields[int(random.integers(len(fields)))]
            value = getattr(message, field.name)
            repeated = not isinstance(value, str | bytes | int | float) and hasattr(value, "__len__")
            if field.message_type is not None:
                if repeated and random.random() < 0.03:
                    i = int(random.integers(len(value)))
                    if random.random() < 0.5:
                        del value[i]
                    else:
                        value.add().CopyFrom(value[i])
                    break
                message = value[int(random.integers(len(value)))] if repeated else value
                continue
            if repeated:
                changed = value[0] if value and isinstance(value[0], str | bytes) else mutate_list(random, value)
                if isinstance(changed, list):
                    del value[:]
                    value.extend(changed)
                else:  # names: one for another
                    i, j = random.integers(len(value), size=2)
                    value[i] = value[j]
            elif isinstance(value, int):
                setattr(message, field.name, number(random, value))
            elif isinstance(value, float):
                setattr(message, field.name, float(random.choice(REALS)))
            elif isinstance(value, bytes):
                setattr(message, field.name, damage(random, value) if value else b"\0")
            break
    return bytes(model.SerializeToString())


def damage(random: np.random.Generator, data: bytes) -> bytes:
    """Some bytes changed, cut off or put in."""
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        if not damaged:
            break
        place, kind = int(random.integers(len(damaged))), int(random.integers(8))
        if kind == 0:
            del damaged[place:]
        elif kind == 1:
            damaged[place:place] = random.bytes(int(random.integers(1, 9)))
        elif kind < 5:
            damaged[place] = int(random.integers(256))
        else:
            value = int(random.choice(NUMBERS)) & 0xFFFFFFFF
            damaged[place // 4 * 4 : place // 4 * 4 + 4] = value.to_bytes(4, "little")
    return bytes(damaged)


# ---- running --------------------------------------------------------------------------------------------------------


def tflite_seeds() -> list[bytes]:
    import networks
    import random_models
    from tulle import tflite
    from tulle.sparsify import magnitude

    pruned = magnitude(networks.every_op(), 0.75, layers=["project", "narrow"])
    files = [tflite.write(pruned, weights="fp16", sparse=True)]
    return files + [random_models.build(seed)[0] for seed in range(150)]


def onnx_seeds() -> list[bytes]:
    from python.test_onnx import CASES, IMAGE, OnnxModel, quantised_model

    files = [quantised_model(0.05, 0, 13)[0]]
    for case in CASES.values():
        m = OnnxModel(IMAGE)
        files.append(m.finish(case(m)))
    return files


def convert(kind: str, data: bytes) -> bool:
    """Whether the file became a .tulle file; False if it was refused. Anything else is raised."""
    import tulle
    from tulle import onnx, tflite

    def slow(*_: object) -> None:
        raise Slow(f"took more than {MOST_SECONDS:g} s")

    signal.signal(signal.SIGALRM, slow)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        tulle.convert({"tflite": tflite, "onnx": onnx}[kind].read(data))
        return True
    except tulle.TulleError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def where(error: BaseException) -> str:
    """The kind of error and the line of tulle that it came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tulle/" in frame.filename]
    place = f"{frames[-1].filename.split('/tulle/')[-1]}:{frames[-1].lineno}" if frames else "outside of tulle"
    return f"{type(error).__name__} in {place}: {str(error)[:100]}"


def fuzz(kind: str, count: int, seed: int, seconds: float = float("inf")) -> tuple[dict[str, bytes], Counter[str]]:
    """A file for each kind of failure, and how many files were converted, refused or failed."""
    seeds, mutate = {"tflite": (tflite_seeds, mutate_flatbuffer), "onnx": (onnx_seeds, mutate_protobuf)}[kind]
    files, failures, outcomes = seeds(), dict[str, bytes](), Counter[str]()
    end = time.monotonic() + seconds
    for each in range(seed, seed + count):
        if time.monotonic() > end:
            break
        random = np.random.default_rng(each)
        data = files[int(random.integers(len(files)))]
        try:
            data = damage(random, data) if random.random() < 0.2 else _structured(mutate, random, data)
        except ValueError:  # no file can hold it
            outcomes["not a file"] += 1
            continue
        try:
            outcomes["converted" if convert(kind, data) else "refused"] += 1
        except Exception as error:  # MemoryError too
            outcomes["failed"] += 1
            failures.setdefault(where(error), data)
    return failures, outcomes


def _structured(mutate: Callable, random: np.random.Generator, data: bytes) -> bytes:
    """Raises ValueError where the changed values do not fit into their fields."""
    try:
        return mutate(random, data)
    except (TypeError, OverflowError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # flatbuffers' and protobuf's own
        if type(error).__module__.partition(".")[0] in ("flatbuffers", "google", "struct"):
            raise ValueError(str(error)) from error
        raise


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tflite", "onnx"])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    np.seterr(all="ignore")
    import tulle.conversion  # noqa: F401 (what it maps does not count)

    limit_memory()
    failures, outcomes = fuzz(arguments.kind, arguments.count, arguments.seed, arguments.seconds)
    print(f"{arguments.kind}: {sum(outcomes.values())} files, {dict(outcomes)}")
    FAILURES.mkdir(parents=True, exist_ok=True)
    for index, (what, data) in enumerate(failures.items()):
        path = FAILURES / f"{arguments.kind}-{index}"
        path.write_bytes(data)
        print(f"  {what}  ({path.relative_to(ROOT)})")
    sys.exit(bool(failures))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "py")]
    main()
