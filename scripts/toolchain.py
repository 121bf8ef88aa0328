#!/usr/bin/env python3
"""Makes `.cache/toolchain/bin/` with `emcc` and `em++`, from the first of these that is available:

1. an Emscripten of this machine, at least 3.1.58: `$EMCC`, `$EMSDK`, or `emcc` on PATH
2. on a Debian-family machine as root: Debian trixie's Emscripten in a separate root directory, made by debootstrap
3. the official SDK (emsdk), pinned

An interrupted step is continued or repeated and a finished one is left alone, so running this again is quick. With the
second, `flatc` (for `make schema`) and `trixie COMMAND...` (runs anything in that root) are there too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import CACHE, ROOT, SetupError, apt_install, is_debian_root, main_guard, run_logged, say, write_if_changed

# Older versions are refused at once instead of failing somewhere in the build.
MINIMUM = (3, 1, 58)
EMSDK_VERSION = "3.1.69"
EMSDK_REPOSITORY = "https://github.com/emscripten-core/emsdk.git"

HOME = CACHE / "toolchain"
BIN = HOME / "bin"
LOG = HOME / "setup.log"

TRIXIE = HOME / "trixie"
TRIXIE_PACKAGES = ["emscripten", "flatbuffers-compiler"]
TRIXIE_TOOLS = {"emcc": "emcc", "em++": "em++", "flatc": "flatc"}

EMSDK = HOME / "emsdk"


def main() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    with _only_one():
        emcc = find_emcc()
        if emcc is not None:
            use_installed(emcc)
        elif can_use_trixie():
            make_trixie()
        else:
            make_emsdk()
        version = emcc_version(BIN / "emcc")
        if version is None or version < MINIMUM:
            output = subprocess.run([BIN / "emcc", "--version"], capture_output=True, text=True)
            raise SetupError(
                f"{BIN / 'emcc'} does not run, or is too old: need {_dotted(MINIMUM)}, found {_dotted(version)}\n"
                f"{output.stdout}{output.stderr}Remove {HOME} and run this again; the log is {LOG}"
            )
        say(f"Emscripten {_dotted(version)}: {BIN / 'emcc'}")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Keeps a second run (two makes at once) waiting instead of both writing the same root."""
    import fcntl

    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run of scripts/toolchain.py")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Inherited, so that an apt or debootstrap that outlives a killed run still makes the next one wait.
        os.set_inheritable(lock.fileno(), True)
        yield


# ---- an Emscripten that is already there ------------------------------------------------------------------------


def find_emcc() -> Path | None:
    """An installed emcc that is new enough. If `$EMCC` is set, it must be one."""
    if asked := os.environ.get("EMCC"):
        found = shutil.which(asked)
        version = emcc_version(Path(found)) if found else None
        if found is None or version is None or version < MINIMUM:
            raise SetupError(
                f"$EMCC is {asked!r}: found version {_dotted(version)}, need {_dotted(MINIMUM)} or newer. "
                "Correct it, or unset it to let tulle set Emscripten up"
            )
        return Path(found)
    candidates = []
    if emsdk := os.environ.get("EMSDK"):
        candidates.append(Path(emsdk) / "upstream" / "emscripten" / "emcc")
    if on_path := shutil.which("emcc"):
        candidates.append(Path(on_path))
    for path in candidates:
        if path.parent == BIN:
            continue
        version = emcc_version(path)
        if version is not None and version >= MINIMUM:
            return path
        say(f"not using {path}: version {_dotted(version)}, need {_dotted(MINIMUM)} or newer")
    return None


def emcc_version(emcc: Path) -> tuple[int, ...] | None:
    """(major, minor, patch), or None if emcc does not run or does not report a version."""
    try:
        result = subprocess.run([emcc, "--version"], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(result.stdout) if result.returncode == 0 else None


def parse_version(text: str) -> tuple[int, ...] | None:
    """The version in the first line of `emcc --version`, as in "emcc (Emscripten ...) 3.1.69 (b7ad...)"."""
    match = re.search(r"\b(\d+)\.(\d+)\.(\d+)\b", text.split("\n")[0])
    return tuple(map(int, match.groups())) if match else None


def use_installed(emcc: Path) -> None:
    for name in ("emcc", "em++"):
        tool = emcc.with_name(emcc.name.replace("emcc", name))
        if not tool.exists():
            raise SetupError(f"{emcc} has no {tool.name} beside it")
        write_if_changed(BIN / name, f'#!/bin/sh\nexec {shlex.quote(str(tool))} "$@"\n', executable=True)


# ---- Debian trixie in a directory ---------------------------------------------------------------------------------


def can_use_trixie() -> bool:
    """Debian-family, root, and mounts in a private namespace are allowed (in most containers they are not)."""
    if not is_debian_root() or shutil.which("unshare") is None:
        return False
    probe = 'mount --bind "$1" "$1"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", probe, "sh", str(HOME)]
    if subprocess.run(command, capture_output=True).returncode == 0:
        return True
    say("mounts are not permitted here (a container?), so no Debian root: taking the official SDK instead")
    return False


def make_trixie() -> None:
    write_trixie_wrappers()
    base, packages = TRIXIE / ".tulle-base", TRIXIE / ".tulle-packages"
    wanted = " ".join(TRIXIE_PACKAGES)
    downloads = HOME / "debs"

    if not base.exists():
        if shutil.which("debootstrap") is None:
            apt_install(["debootstrap", "debian-archive-keyring"], LOG)
        if TRIXIE.exists():
            say("removing a root that was left half made (its downloads are kept)")
            # The mounts were in namespaces that ended with their processes; one-file-system is the second lock.
            subprocess.run(["rm", "-rf", "--one-file-system", TRIXIE], check=True)
        downloads.mkdir(exist_ok=True)
        # In a namespace of its own, because debootstrap mounts /proc and /sys in the root: were it killed, they
        # would stay, and the next clean-up would delete through them.
        private = ["unshare", "--mount", "--propagation", "private"]
        debootstrap = ["debootstrap", "--variant=minbase", f"--cache-dir={downloads}", "trixie", str(TRIXIE)]
        run_logged("debootstrap trixie", [*private, *debootstrap], LOG)
        base.touch()

    if not packages.exists() or packages.read_text() != wanted:
        _copy_apt_proxy()
        env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        for command in (
            ["dpkg", "--configure", "-a"],  # left by an interrupted run
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", *TRIXIE_PACKAGES],
            ["apt-get", "clean"],
        ):
            run_logged(f"trixie: {' '.join(command)}", [str(BIN / "trixie"), *command], LOG, env=env)
        packages.write_text(wanted)
        shutil.rmtree(downloads, ignore_errors=True)


def _copy_apt_proxy() -> None:
    """Passes this machine's apt proxy, if any, to the apt inside."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in dump.splitlines() if re.match(r"Acquire::https?::Proxy\b", line)]
    write_if_changed(TRIXIE / "etc" / "apt" / "apt.conf.d" / "90host-proxy", "".join(line + "\n" for line in lines))


# The mounts are made in a private namespace that ends with the command. So nothing has to be unmounted, and removing
# the root can never delete through a mount. /tmp is shared because build tools write there. The host's PATH, Python
# and Node settings name files that do not exist inside.
_ENTER = r"""#!/bin/sh
# Made by scripts/toolchain.py: runs a command inside the Debian root, with the checkout and /tmp visible.
exec unshare --mount --propagation private sh -c '
set -e
root=$1 checkout=$2 directory=$3
shift 3
mount --bind /tmp "$root/tmp"
mkdir -p "$root$checkout"
mount --bind "$checkout" "$root$checkout"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
unset TMPDIR $(env | sed -En "s/^((NODE_|PYTHON|EMSDK|EM_)[A-Z0-9_]*)=.*/\1/p")
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$root" sh -c "
cd \"\$0\" 2>/dev/null || { echo \"toolchain: work in the checkout: the Debian root does not have \$0\" >&2; exit 1; }
exec \"\$@\"" "$directory" "$@"
' sh @ROOT@ @CHECKOUT@ "$PWD" "$@"
"""


def write_trixie_wrappers() -> None:
    enter = _ENTER.replace("@ROOT@", shlex.quote(str(TRIXIE))).replace("@CHECKOUT@", shlex.quote(str(ROOT)))
    write_if_changed(BIN / "trixie", enter, executable=True)
    for name, tool in TRIXIE_TOOLS.items():
        text = f'#!/bin/sh\nexec {shlex.quote(str(BIN / "trixie"))} {tool} "$@"\n'
        write_if_changed(BIN / name, text, executable=True)


# ---- the official SDK ---------------------------------------------------------------------------------------------


def make_emsdk() -> None:
    ready = EMSDK / f".tulle-{EMSDK_VERSION}"
    emcc = EMSDK / "upstream" / "emscripten" / "emcc"
    if not ready.exists():
        if shutil.which("git") is None:
            raise SetupError(
                f"fetching Emscripten needs git; or install Emscripten {_dotted(MINIMUM)} or newer yourself"
            )
        if not (EMSDK / ".tulle-cloned").exists():
            shutil.rmtree(EMSDK, ignore_errors=True)
            clone = ["git", "clone", "--depth", "1", "--branch", EMSDK_VERSION, EMSDK_REPOSITORY, str(EMSDK)]
            run_logged(f"fetching emsdk {EMSDK_VERSION}", clone, LOG)
            (EMSDK / ".tulle-cloned").touch()
        # emsdk keeps finished downloads and unpacked parts, so a second try continues where the first ended.
        emsdk = [sys.executable, str(EMSDK / "emsdk.py")]
        run_logged(f"emsdk install {EMSDK_VERSION} (about 500 MB)", [*emsdk, "install", EMSDK_VERSION], LOG)
        run_logged(f"emsdk activate {EMSDK_VERSION}", [*emsdk, "activate", EMSDK_VERSION], LOG)
        ready.touch()
    use_installed(emcc)


def _dotted(version: tuple[int, ...] | None) -> str:
    return ".".join(map(str, version)) if version else "none"


if __name__ == "__main__":
    with main_guard():
        main()
