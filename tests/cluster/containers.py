"""The container runtime: an own containerd, apart from any other on the machine."""

from pathlib import Path

from tests.cluster import builders, cgroups, images, processes
from tests.cluster.console import output
from tests.cluster.network import CNI_CONFIG, CNI_PLUGINS
from tests.cluster.places import CONTAINERD_SOCKET, DATA, RUN

PAUSE_IMAGE = "docker.io/agentruns/pause:1"
_CONFIG = f"""
version = 2
root = "{DATA}/containerd"
state = "{RUN}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{CNI_CONFIG}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.internal.v1.opt"]
path = "{DATA}/containerd-opt"
"""


def start() -> None:
    """Starts containerd."""
    config = DATA / "containerd.toml"
    config.write_text(_CONFIG)
    processes.start("containerd", ["containerd", "--config", config])
    processes.wait_until("containerd answers", CONTAINERD_SOCKET.is_socket, 30)


def load_pause_image() -> None:
    """Loads the image of the process that holds a pod's namespaces."""
    folder = Path(__file__).parent / "pause"
    pause = images.Image(PAUSE_IMAGE, folder / "Containerfile", (folder,), _compile_pause)
    images.load(images.archive(pause, builders.chosen()), ctr())


def ctr() -> list[str | Path]:
    """The command that speaks to this containerd about Kubernetes' images and containers."""
    return ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]


def kill_all() -> None:
    """Ends every container, and the shims that hold them, whether containerd runs or not."""
    processes.kill(cgroups.members() | processes.by_argument(str(CONTAINERD_SOCKET)))


def _compile_pause(folder: Path, _: builders.Builder) -> None:
    output(["gcc", "-static", "-Os", "-o", folder / "pause", Path(__file__).parent / "pause" / "pause.c"])
