"""The project's images: what each is made of, and how it comes into the cluster."""

import hashlib
import json
import platform
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import builders, toolchain
from tests.cluster.console import ClusterError, Command, output, say
from tests.cluster.places import CHECKOUT, CLUSTER, LOADED

ARCHIVES = CLUSTER / "images"
_IDENTITY = "agentrun.dev/configuration"


@dataclass(frozen=True)
class Image:
    """An image: its name, its Containerfile, the files that it is made of, and what puts them into a build context."""

    name: str
    containerfile: Path
    inputs: tuple[Path, ...]
    fill: Callable[[Path, builders.Builder], None]


def project_images() -> list[Image]:
    """An image for each folder of sandbox-images/, and the operator's."""
    return [*map(_sandbox, sorted((CHECKOUT / "sandbox-images").glob("*/Containerfile"))), _operator()]


def archive(image: Image, builder: builders.Builder) -> Path:
    """The archive of an image, built unless there is one of the same inputs."""
    key = _key(image, builder)
    short = image.name.rpartition("/")[2].replace(":", "-")
    file = ARCHIVES / f"{short}-{key}.tar"
    if not file.exists():
        ARCHIVES.mkdir(parents=True, exist_ok=True)
        with builders.context(short) as folder:
            shutil.copy(image.containerfile, folder / "Containerfile")
            image.fill(folder, builder)
            builder.build(image.name, folder, file)
        for older in set(ARCHIVES.glob(f"{short}-*.tar")) - {file}:
            older.unlink()
    return file


def archive_of(image: str) -> Path:
    """The archive that a person names: the file itself, or what Docker saves of an image of that name."""
    if Path(image).is_file():
        return Path(image)
    if not builders.docker_answers():
        raise ClusterError(f"{image} is no file, and there is no Docker daemon to ask for an image of that name")
    file = ARCHIVES / "saved-by-docker.tar"
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    output(["docker", "save", "--output", file, image])
    return file


def load(file: Path, ctr: Command) -> str:
    """Loads an archive into the cluster unless it is there; its reference by digest, for pods that need no pull."""
    name, identity = contents(file)
    reference = _reference(identity, ctr)
    if not reference:
        say(f"loading {name}")
        _import(file, name, identity, ctr)
        reference = _reference(identity, ctr)
    output([*ctr, "images", "tag", "--force", reference, name])
    _remember(name, reference)
    return reference


def contents(file: Path) -> tuple[str, str]:
    """The full name of the image in an archive, and the digest of its configuration, which tells it from others."""
    with tarfile.open(file) as tar:
        manifest = tar.extractfile("manifest.json")
        entry = json.load(manifest)[0] if manifest else {}
    if not entry.get("RepoTags"):
        raise ClusterError(f"the image in {file} has no name")
    return full_name(entry["RepoTags"][0]), Path(entry["Config"]).stem


def full_name(name: str) -> str:
    """A name of Docker's with the registry and the folder that Docker leaves out."""
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def _import(file: Path, name: str, identity: str, ctr: Command) -> None:
    with file.open("rb") as stream:
        output([*ctr, "images", "import", "-"], stdin=stream)
    digest = output([*ctr, "images", "list", f"name=={name}"]).splitlines()[-1].split()[2]
    reference = f"{name.rpartition(':')[0]}@{digest}"
    output([*ctr, "images", "tag", "--force", name, reference])
    output([*ctr, "images", "label", reference, f"{_IDENTITY}={identity}"])


def _reference(identity: str, ctr: Command) -> str:
    names = output([*ctr, "images", "list", "--quiet", f'labels."{_IDENTITY}"=={identity}']).split()
    return next((name for name in names if "@" in name), "")


def _remember(name: str, by_digest: str) -> None:
    known = json.loads(LOADED.read_text()) if LOADED.exists() else {}
    LOADED.write_text(json.dumps(known | {name: by_digest}, indent=2) + "\n")


def _operator() -> Image:
    inputs = ("operator", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
    return Image(
        name="docker.io/agentruns/operator:dev",
        containerfile=CHECKOUT / "operator" / "Containerfile",
        inputs=tuple(CHECKOUT / name for name in inputs),
        fill=lambda folder, builder: toolchain.install_operator(folder, builder.python),
    )


def _sandbox(containerfile: Path) -> Image:
    folder = containerfile.parent
    return Image(
        name=f"docker.io/agentruns/sandbox-{folder.name}:dev",
        containerfile=containerfile,
        inputs=(folder,),
        fill=lambda context, _: builders.copy(folder, context),
    )


def _key(image: Image, builder: builders.Builder) -> str:
    content = hashlib.sha256(f"{builder.base} {platform.machine()}".encode())
    for file in _files(image.inputs):
        content.update(f"\0{file.relative_to(CHECKOUT)}\0".encode() + file.read_bytes())
    return content.hexdigest()[:12]


def _files(inputs: Iterable[Path]) -> Iterator[Path]:
    for each in inputs:
        found = sorted(each.rglob("*")) if each.is_dir() else [each]
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)
