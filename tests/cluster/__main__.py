"""python3 -m tests.cluster COMMAND: a real Kubernetes cluster, and the project's images on it."""

import argparse
import fcntl
import os
import sys
from collections.abc import Callable

from tests.cluster import builders, images, providers, toolchain
from tests.cluster.console import ClusterError, say
from tests.cluster.places import BIN, CLUSTER, KUBECONFIG


def up() -> None:
    """bring a cluster up, or find that it is; run twice, it does nothing twice"""
    provider = providers.chosen()
    say(f"cluster from: {provider.__name__.rpartition('.')[2]}")
    provider.up()
    providers.remember(provider)
    toolchain.kubectl()
    toolchain.helm()
    say(f"the cluster is up: export KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """take the cluster down; builds and downloads stay"""
    providers.chosen().down()
    providers.forget()
    say("no cluster is up any more")


def status() -> None:
    """say what runs"""
    print(providers.chosen().status())


def kubeconfig() -> None:
    """print the path of the kubeconfig"""
    if not KUBECONFIG.exists():
        raise ClusterError("there is no cluster: python3 -m tests.cluster up")
    print(KUBECONFIG)


def build_images() -> None:
    """build the project's images, and load them into the cluster"""
    builder, ctr = builders.chosen(), providers.chosen().ctr()
    for image in images.project_images():
        print(images.load(images.archive(image, builder), ctr))


def load(image: str) -> None:
    """load an image into the cluster: a docker-archive file, or a name that Docker knows"""
    print(images.load(images.archive_of(image), providers.chosen().ctr()))


COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    "down": down,
    "status": status,
    "kubeconfig": kubeconfig,
    "images": build_images,
    "load": load,
}


def main() -> int:
    """Runs the command of the command line, one at a time in this checkout."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        described = commands.add_parser(name, help=command.__doc__)
        if command is load:
            described.add_argument("image", metavar="IMAGE")
    arguments = vars(parser.parse_args())
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    BIN.mkdir(parents=True, exist_ok=True)
    try:
        with (CLUSTER / "lock").open("w") as lock:
            if arguments["command"] in ("up", "down", "images", "load"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            COMMANDS[arguments.pop("command")](**arguments)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here, or clears what this one left")
        return 130
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
