"""What a cluster leaves on the machine, and its removal, also after a run that was killed."""

import shlex
import shutil
from pathlib import Path

from tests.cluster import cgroups, containers, network, processes
from tests.cluster.console import ClusterError, output, say
from tests.cluster.places import CHECKOUT, KUBECONFIG, LOADED, LOCAL, OWNER, RUN


def expect_no_other_owner() -> None:
    """ClusterError if a cluster of another checkout runs on this machine; one whose checkout is gone does not count."""
    owner = Path(OWNER.read_text()) if OWNER.exists() else CHECKOUT
    if owner != CHECKOUT and (owner / "tests" / "cluster").is_dir() and any(processes.recorded().values()):
        raise ClusterError(
            f"a cluster of {owner} runs on this machine, and there is room for one. "
            f"Stop it with: cd {shlex.quote(str(owner))} && python3 -m tests.cluster down"
        )


def clear() -> None:
    """Stops what was started, unmounts what was mounted, and deletes the cluster's data."""
    if RUN.exists():
        say("stopping the cluster, or what is left of one")
        _stop_processes()
        network.clear()
        cgroups.clear()
        _unmount_all()
        shutil.rmtree(RUN)
    shutil.rmtree(LOCAL, ignore_errors=True)
    for file in (KUBECONFIG, LOADED):
        file.unlink(missing_ok=True)


def _stop_processes() -> None:
    processes.stop_recorded()
    containers.kill_all()


def _unmount_all() -> None:
    for place in reversed(_mounts_below(RUN)):
        output(["umount", "--lazy", place])
    if _mounts_below(RUN):
        raise ClusterError(f"cannot unmount {', '.join(_mounts_below(RUN))}: unmount them, then try again")


def _mounts_below(folder: Path) -> list[str]:
    """The places below a folder where something is mounted, in the order in which it was."""
    places = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [place for place in places if place.startswith(f"{folder}/")]
