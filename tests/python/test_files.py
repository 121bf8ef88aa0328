"""Files that are written: whole or not at all, through links, to pipes, and never over what is read."""

from __future__ import annotations

import io
import mmap
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import networks
import tulle
import tulle.compression
from tulle.cli import main
from tulle.errors import TulleError
from tulle.files import check_target, write_bytes

posix = pytest.mark.skipif(os.name != "posix", reason="no such files here")


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link, dangling = tmp_path / "folder" / "real", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    dangling.symlink_to("folder/new")
    write_bytes(link, b"new")
    write_bytes(dangling, b"newer")
    assert link.is_symlink() and target.read_bytes() == b"new" and target.stat().st_mode & 0o777 == 0o640
    assert dangling.is_symlink() and (tmp_path / "folder" / "new").read_bytes() == b"newer"
    assert sorted(os.listdir(tmp_path / "folder")) == ["new", "real"]


@posix
def test_pipes_are_written_to(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    check_target(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"model")
    reader.join(10)
    assert got == [b"model"] and stat.S_ISFIFO(pipe.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


@posix
def test_devices_are_written_to(tmp_path: Path) -> None:
    before = os.stat(os.devnull)
    if os.geteuid() == 0:  # a node of its own: where this test fails it must not take /dev/null away
        device = tmp_path / "null"
        os.mknod(device, 0o666 | stat.S_IFCHR, before.st_rdev)
        write_bytes(device, b"model")
        assert stat.S_ISCHR(device.stat().st_mode) and os.listdir(tmp_path) == ["null"]
    else:
        write_bytes(os.devnull, b"model")
        assert os.stat(os.devnull).st_ino == before.st_ino
    check_target(os.devnull)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for write in (check_target, lambda path: write_bytes(path, b"")):
        with pytest.raises(TulleError, match="cannot be written"):
            write(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build = networks.builder()
    weight = build.graph.add_constant("w", networks.noise_array((4, 1, 1, 3)))
    y = build.node("conv2d", [build.input("x", (1, 4, 4, 3)), weight], "y", strides=(1, 1), dilations=(1, 1),
                   padding="valid", activation="none")  # fmt: skip
    path = tmp_path / "model.tflite"
    path.write_bytes(tulle.tflite.write(build.finish(y)))
    return path


def fail(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    return result.stderr


def test_what_is_read_is_not_written(model: Path, tmp_path: Path) -> None:
    link, copy, converted = tmp_path / "link.tflite", tmp_path / "hard.tflite", tmp_path / "model.tulle"
    link.symlink_to(model)
    os.link(model, copy)
    tulle.convert(model).save(converted)
    np.save(tmp_path / "x.npy", np.ones((1, 4, 4, 3), np.float32))
    before = model.read_bytes(), converted.read_bytes()
    for target in (model, link, copy):
        assert "is read as well" in fail("sparsify", model, "-o", target)
    unnamed = tmp_path / "model"
    unnamed.write_bytes(model.read_bytes())
    assert "is read as well" in fail("convert", unnamed, "-o", unnamed)
    assert "is read as well" in fail("compress", converted, "-o", converted, "--values", "int8")
    assert "is read as well" in fail("sparsify", model, "-o", tmp_path / "out.tflite", "--report", model)
    assert "is read as well" in fail("run", converted, tmp_path / "x.npy", "--save", converted)
    assert (model.read_bytes(), converted.read_bytes()) == before


def test_a_file_is_not_given_the_name_of_another_kind(model: Path, tmp_path: Path) -> None:
    for target in ("out.tflite", "out.onnx", "out.TFLITE"):
        assert "what is written is a .tulle file" in fail("convert", model, "-o", tmp_path / target)
        assert "what is written is a .tulle file" in fail("compress", model, "-o", tmp_path / target)
    assert "what is written is a .tflite file" in fail(
        "zoo", "build", "mobilenet_v2", "-o", tmp_path / "out.tulle", "--size", "32", "--width", "0.35"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite"]
    result = CliRunner().invoke(main, ["convert", str(model), "-o", str(tmp_path / "anything.bin")])
    assert result.exit_code == 0


def test_models_are_read_from_what_holds_them(model: Path) -> None:
    data, x = model.read_bytes(), np.ones((1, 4, 4, 3), np.float32)
    conversion = tulle.convert(model)
    (expected,) = tulle.load(model)(x).values()
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        sources = [
            data,
            bytearray(data),
            memoryview(data),
            mapped,
            file,
            io.BytesIO(data),
            np.frombuffer(data, np.uint8),
        ]
        for source in sources:
            (got,) = tulle.load(source)(x).values()
            np.testing.assert_array_equal(got, expected)
        file.seek(0)
        for source in (bytearray(data), memoryview(data), mapped, file, io.BytesIO(data)):
            assert tulle.convert(source).data == tulle.convert(data).data
    assert tulle.read_tflite(io.BytesIO(data)).nodes == tulle.read_tflite(data).nodes
    for source in (conversion, conversion.data, io.BytesIO(conversion.data)):
        np.testing.assert_array_equal(*tulle.load(source)(x).values(), expected)
    assert tulle.compression.compress(io.BytesIO(conversion.data)).data == conversion.data


@pytest.mark.parametrize("function", [tulle.load, tulle.convert, tulle.read_tflite])
def test_what_holds_no_model_is_named(function: Callable[[Any], Any], model: Path) -> None:
    class Net:
        def state_dict(self) -> None: ...

    with open(model, "rb") as closed:
        pass
    with open(__file__) as text:
        for source, message in (
            (None, "cannot be read from NoneType: give a path, bytes, an open file or a Graph"),
            (text, "cannot be read from TextIOWrapper: open the file in mode 'rb'"),
            (closed, "cannot be read: "),
            (Net(), "cannot be read from Net: export a PyTorch module with torch.onnx.export first"),
        ):
            with pytest.raises(TulleError, match=message):
                function(source)
