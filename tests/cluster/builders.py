"""Building images: with Docker where it answers, else with buildah on a base of Debian packages."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.cluster.console import Command, output, run_long
from tests.cluster.places import CLUSTER, LOGS

# Of both bases, and so of the wheels that go onto them: another one would not find their compiled parts.
PYTHON = "3.11"
_DOCKER_BASE = f"docker.io/library/python:{PYTHON}-slim"
_DEBIAN = "bookworm"
_DEBIAN_BASE = f"docker.io/agentruns/base:{_DEBIAN}"
_DEBIAN_PACKAGES = "python3,ca-certificates"
_NEVER_READ = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_STORE = CLUSTER / "buildah"


class Builder(Protocol):
    """Builds images from Containerfiles, on a base image that has Python."""

    @property
    def base(self) -> str:
        """What the base image is, in words that change when it does."""

    @property
    def python(self) -> str:
        """The version of the base image's Python."""

    def build(self, name: str, context: Path, archive: Path) -> None:
        """Builds an image from a folder with a Containerfile, and writes it to a docker-archive file."""


def chosen() -> Builder:
    """Docker if its daemon answers, else buildah."""
    return Docker() if docker_answers() else Buildah()


def docker_answers() -> bool:
    """Whether there is a Docker daemon to talk to."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False).returncode == 0


@contextmanager
def context(name: str) -> Iterator[Path]:
    """An empty folder to put the files of an image into."""
    folder = CLUSTER / "build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(source: Path, folder: Path) -> None:
    """Copies the files of a folder into a build context."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


@dataclass(frozen=True)
class Docker:
    """Builds with Docker, on Python's official image."""

    base: str = _DOCKER_BASE
    python: str = PYTHON

    def build(self, name: str, context: Path, archive: Path) -> None:
        """Builds an image from a folder with a Containerfile, and writes it to a docker-archive file."""
        command = [
            "docker",
            "build",
            "--file",
            "Containerfile",
            "--build-arg",
            f"BASE={_DOCKER_BASE}",
            "--tag",
            name,
            ".",
        ]
        run_long(f"building {name}", command, _log(name), cwd=context)
        partial = archive.with_suffix(".partial")
        output(["docker", "save", "--output", partial, name])
        partial.rename(archive)


@dataclass(frozen=True)
class Buildah:
    """Builds with buildah, as root without any daemon, on Debian's Python."""

    base: str = f"{_DEBIAN}: {_DEBIAN_PACKAGES}"
    python: str = PYTHON

    def build(self, name: str, context: Path, archive: Path) -> None:
        """Builds an image from a folder with a Containerfile, and writes it to a docker-archive file."""
        if "BASE" in (context / "Containerfile").read_text():
            _make_debian_base()
        plainly = ("--isolation", "chroot", "--layers", "--timestamp", "0", "--pull-never")
        files = ("--file", "Containerfile", "--build-arg", f"BASE={_DEBIAN_BASE}", "--tag", name, ".")
        run_long(f"building {name}", _buildah("bud", *plainly, *files), _log(name), cwd=context)
        partial = archive.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        output(_buildah("push", "--quiet", name, f"docker-archive:{partial}:{name}"))
        partial.rename(archive)


def _make_debian_base() -> None:
    """Makes the base image of Debian packages, unless it is there."""
    if _DEBIAN_BASE in output(_buildah("images", "--format", "{{.Name}}:{{.Tag}}")).split():
        return
    tarball = CLUSTER / f"base-{_DEBIAN}.tar"
    if not tarball.exists():
        partial = tarball.with_suffix(".partial.tar")
        left_out = [f"--dpkgopt=path-exclude={path}" for path in _NEVER_READ]
        packages = ["--variant=essential", f"--include={_DEBIAN_PACKAGES}"]
        command: Command = ["mmdebstrap", *packages, *left_out, _DEBIAN, partial]
        run_long("making a base image of Debian packages", command, LOGS / "build-base.log")
        partial.rename(tarball)
    container = output(_buildah("from", "scratch")).strip()
    output(_buildah("add", "--quiet", container, tarball, "/"))
    output(_buildah("commit", "--quiet", "--rm", container, _DEBIAN_BASE))


def _buildah(*arguments: str | Path) -> list[str | Path]:
    # The kernel reads a comma and a colon in the path of an overlay as the end of it; plain copies are slow, but safe.
    driver = "vfs" if set(",:") & set(str(_STORE)) else "overlay"
    store = ("--root", _STORE / "root", "--runroot", _STORE / "run", "--storage-driver", driver)
    return ["buildah", *store, *arguments]


def _log(name: str) -> Path:
    return LOGS / f"build-{name.rpartition('/')[2].replace(':', '-')}.log"
