"""The control groups of the cluster's pods, apart from those of any other kubelet on the machine."""

from collections.abc import Iterator
from pathlib import Path

NAME = "agentruns"
_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = {"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}


def make() -> None:
    """Makes the group below which the kubelet makes all others."""
    if _is_unified():
        available = set((_ROOT / "cgroup.controllers").read_text().split())
        passed_on = " ".join(f"+{name}" for name in sorted(available & _CONTROLLERS))
        (_ROOT / "cgroup.subtree_control").write_text(passed_on)
    for group in _groups():
        group.mkdir(exist_ok=True)


def members() -> set[int]:
    """The processes of the cluster's pods."""
    lists = (procs for group in _groups() for procs in group.rglob("cgroup.procs"))
    return {int(pid) for procs in lists for pid in procs.read_text().split()}


def clear() -> None:
    """Removes the groups, which must be empty."""
    for group in _groups():
        inner_first = sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
        for folder in [*inner_first, group]:
            if folder.is_dir():
                folder.rmdir()


def _groups() -> Iterator[Path]:
    """The group's folder in the one hierarchy of cgroup v2, or in each of those of v1."""
    hierarchies = [_ROOT] if _is_unified() else [path for path in _ROOT.iterdir() if not path.is_symlink()]
    return (path / NAME for path in hierarchies)


def _is_unified() -> bool:
    return (_ROOT / "cgroup.controllers").exists()
