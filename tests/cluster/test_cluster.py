"""The parts of the cluster's tool that can be tested without a cluster."""

import io
import json
import os
import socket
import sys
import tarfile
from pathlib import Path

import pytest

from tests import images as under_test
from tests.cluster import builders, existing, images, kind, leftovers, local, processes, providers
from tests.cluster.console import ClusterError, output, run_long
from tests.waiting import until

DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps these tests away from a cluster that is up."""
    for variable in ("AGENTRUN_CLUSTER", "AGENTRUN_TEST_KUBECONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(providers, "_REMEMBERED", tmp_path / "provider")
    monkeypatch.setattr(processes, "_RECORDS", tmp_path / "processes")
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")


@pytest.fixture
def own_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a `docker`, the only one on the path, writes what it was told, and does nothing else."""
    docker, told = tmp_path / "docker", tmp_path / "told"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(builders, "LOGS", tmp_path / "logs")
    return told


class TestWhereAClusterComesFrom:
    def test_the_one_the_user_forces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, module in (("kind", kind), ("local", local), ("existing", existing)):
            monkeypatch.setenv("AGENTRUN_CLUSTER", name)
            assert providers.chosen() is module

    def test_an_existing_one_only_if_its_own_variable_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", "/somewhere/config")
        assert providers.chosen() is not existing
        monkeypatch.setenv("AGENTRUN_TEST_KUBECONFIG", "/somewhere/config")
        assert providers.chosen() is existing

    def test_without_docker_it_is_made_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert providers.chosen() is local

    def test_with_docker_it_is_kind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        docker = tmp_path / "docker"
        docker.write_text("#!/bin/sh\nexit 0\n")
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        assert providers.chosen() is kind
        docker.write_text("#!/bin/sh\nexit 1\n")
        assert providers.chosen() is local

    def test_the_one_that_is_up_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        providers.remember(kind)
        assert providers.chosen() is kind
        monkeypatch.setenv("AGENTRUN_CLUSTER", "local")
        with pytest.raises(ClusterError, match="from kind is up: take it down first"):
            providers.chosen()
        providers.forget()
        assert providers.chosen() is local

    def test_a_misspelt_one_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTRUN_CLUSTER", "kindd")
        with pytest.raises(ClusterError, match="expected one of existing, kind, local"):
            providers.chosen()

    def test_an_existing_one_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTRUN_TEST_KUBECONFIG", "/no/such/file")
        with pytest.raises(ClusterError, match="AGENTRUN_TEST_KUBECONFIG='/no/such/file' names no file"):
            existing.up()


class TestKind:
    def test_creates_the_cluster_with_its_own_kubeconfig(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.cluster.toolchain.kind", lambda: Path("kind"))
        command = [str(part) for part in kind.creation(None)]
        assert command[:4] == ["kind", "create", "cluster", "--name=agentruns"]
        assert any(part.startswith("--kubeconfig=") and part.endswith("/.cluster/kubeconfig") for part in command)
        assert not any(part.startswith("--image") for part in command)
        assert kind.creation("kindest/node:v1.36.1")[-1] == "--image=kindest/node:v1.36.1"

    def test_refuses_a_version_without_what_the_project_needs(self) -> None:
        kind.expect_new_enough({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})
        kind.expect_new_enough({"major": "1", "minor": "37+", "gitVersion": "v1.37.0-x"})
        with pytest.raises(ClusterError, match=r"Kubernetes v1\.35\.4, and 1\.36 or newer is needed"):
            kind.expect_new_enough({"major": "1", "minor": "35", "gitVersion": "v1.35.4"})


class TestProcesses:
    def test_a_process_is_recorded_found_and_stopped(self) -> None:
        processes.start("sleeper", ["sleep", "60"])
        pid = processes.recorded()["sleeper"]
        assert pid is not None
        processes.stop_recorded()
        assert processes.recorded() == {}
        assert _is_gone(pid)

    def test_one_that_ignores_the_signal_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "_SECONDS_TO_END", 0.2)
        ready = tmp_path / "ready"
        processes.start("stubborn", ["sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 1; done"])
        pid = processes.recorded()["stubborn"]
        assert pid is not None
        until(ready.exists, "it ignores the signal", 10)
        processes.stop_recorded()
        assert _is_gone(pid)

    def test_another_process_with_a_recorded_id_is_not_touched(self) -> None:
        processes.start("old", ["sleep", "60"])
        record = processes._RECORDS / "old"
        pid = processes.recorded()["old"]
        assert pid is not None
        record.write_text(json.dumps(json.loads(record.read_text()) | {"started": 1}))
        assert processes.recorded() == {"old": None}
        processes.stop_recorded()
        assert not _is_gone(pid)
        processes.kill([pid])

    def test_one_that_ends_is_reported_with_its_last_words(self) -> None:
        processes.start("talker", ["sh", "-c", "echo the disk is full; exit 1"])
        with pytest.raises(ClusterError, match=r"(?s)talker has ended.*the disk is full"):
            processes.wait_until("never", lambda: False, 10)

    def test_one_is_found_by_an_argument(self) -> None:
        mine = f"60.{os.getpid()}"  # others of this machine may look too
        processes.start("sleeper", ["sleep", mine])
        assert processes.by_argument(mine) == {processes.recorded()["sleeper"]}
        processes.stop_recorded()
        assert processes.by_argument(mine) == set()

    def test_who_holds_a_port_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(ClusterError, match=rf"port {port} is taken(?s:.*)pid={os.getpid()}"):
                processes.expect_free([port])
        processes.expect_free([port])


class TestBuilders:
    def test_docker_builds_on_the_python_that_the_wheels_are_for(self, tmp_path: Path, own_docker: Path) -> None:
        docker = builders.Docker()
        archive = tmp_path / "image.tar"
        archive.with_suffix(".partial").touch()
        docker.build("docker.io/agentruns/x:dev", tmp_path, archive)
        assert f"BASE=docker.io/library/python:{docker.python}-slim" in own_docker.read_text().split()

    def test_debian_brings_the_python_that_the_wheels_are_for(self) -> None:
        debian = builders.Buildah()
        assert (debian.base.partition(":")[0], debian.python) == ("bookworm", "3.11")

    def test_the_operators_wheels_are_for_the_python_of_the_base(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr("tests.cluster.toolchain.install_operator", lambda _, python: asked.append(python))
        [operator] = [it for it in images.project_images() if it.name == "docker.io/agentruns/operator:dev"]
        for builder in (builders.Docker(), builders.Buildah()):
            operator.fill(tmp_path, builder)
        assert asked == [builders.PYTHON, builders.PYTHON]
        assert f"ARG BASE=docker.io/library/python:{builders.PYTHON}-slim\n" in operator.containerfile.read_text()


class TestImages:
    def test_names_are_completed_as_docker_does(self) -> None:
        assert images.full_name("busybox:1") == "docker.io/library/busybox:1"
        assert images.full_name("agentruns/operator:dev") == "docker.io/agentruns/operator:dev"
        assert images.full_name("registry.example/x:1") == "registry.example/x:1"
        assert images.full_name("localhost/x:1") == "localhost/x:1"
        assert images.full_name("localhost:5000/x:1") == "localhost:5000/x:1"

    def test_an_archive_tells_its_name_and_identity(self, tmp_path: Path) -> None:
        archive = _archive(tmp_path, {"RepoTags": ["agentruns/x:dev"], "Config": "blobs/sha256/abc"})
        assert images.contents(archive) == ("docker.io/agentruns/x:dev", "abc")
        archive = _archive(tmp_path, {"RepoTags": ["docker.io/agentruns/x:dev"], "Config": "abc.json"})
        assert images.contents(archive) == ("docker.io/agentruns/x:dev", "abc")
        with pytest.raises(ClusterError, match="has no name"):
            images.contents(_archive(tmp_path, {"RepoTags": None, "Config": "abc.json"}))

    def test_an_image_is_built_again_only_when_its_inputs_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(images, "CHECKOUT", tmp_path)
        monkeypatch.setattr(images, "ARCHIVES", tmp_path / "archives")
        source = tmp_path / "source"
        source.mkdir()
        (source / "a").write_text("1")
        image = images.Image("docker.io/agentruns/x:dev", source / "a", (source,), lambda *_: None)
        builder = _CountingBuilder()
        first = images.archive(image, builder)
        assert images.archive(image, builder) == first
        assert builder.built == 1
        (source / "a").write_text("2")
        second = images.archive(image, builder)
        assert builder.built == 2
        assert (first.exists(), second.exists()) == (False, True)


class TestImagesUnderTest:
    @pytest.fixture(autouse=True)
    def none_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where loaded images are written down; there are none."""
        monkeypatch.setattr(under_test, "LOADED", tmp_path / "images.json")
        monkeypatch.delenv(under_test.SANDBOX_VARIABLE, raising=False)
        return tmp_path / "images.json"

    def test_the_loaded_one_is_taken_by_digest(self, none_loaded: Path) -> None:
        none_loaded.write_text(json.dumps({under_test.SANDBOX: f"docker.io/agentruns/sandbox-python@{DIGEST}"}))
        assert under_test.sandbox_image() == f"docker.io/agentruns/sandbox-python@{DIGEST}"

    def test_on_a_named_cluster_it_is_the_named_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AGENTRUN_TEST_SANDBOX_IMAGE", f"localhost:5000/mine/sandbox@{DIGEST}")
        image = under_test.sandbox_image()
        assert under_test.in_parts(image) == {
            "registry": "localhost:5000",
            "repository": "mine/sandbox",
            "digest": DIGEST,
        }

    @pytest.mark.parametrize("named", ["", "registry.example/sandbox:dev", f"sandbox@{DIGEST}", "a/b@sha256:1"])
    def test_one_without_registry_or_digest_is_refused(self, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
        monkeypatch.setenv("AGENTRUN_TEST_SANDBOX_IMAGE", named)
        with pytest.raises(ClusterError, match=r"AGENTRUN_TEST_SANDBOX_IMAGE=.* is no image by digest"):
            under_test.sandbox_image()

    def test_what_to_do_without_any_is_said(self) -> None:
        with pytest.raises(ClusterError, match=r"make images.*AGENTRUN_TEST_SANDBOX_IMAGE=REGISTRY/NAME@sha256"):
            under_test.sandbox_image()


class TestConsole:
    def test_a_failing_command_is_told_with_its_complaint(self, tmp_path: Path) -> None:
        with pytest.raises(ClusterError, match=r"(?s)sh -c.*failed.*no such luck"):
            output(["sh", "-c", "echo no such luck >&2; exit 1"])
        with pytest.raises(ClusterError, match="no program no-such-program"):
            output(["no-such-program"])
        with pytest.raises(ClusterError, match=r"(?s)no such luck"):
            run_long("trying", ["sh", "-c", "echo no such luck; exit 1"], tmp_path / "log")

    def test_the_commands_are_listed(self) -> None:
        told = output([sys.executable, "-m", "tests.cluster", "--help"])
        for command in ("up", "down", "status", "load", "kubeconfig", "images"):
            assert f"\n    {command}" in told


def test_a_running_cluster_of_another_checkout_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    (other / "tests" / "cluster").mkdir(parents=True)
    owner = tmp_path / "owner"
    owner.write_text(str(other))
    monkeypatch.setattr(leftovers, "OWNER", owner)
    leftovers.expect_no_other_owner()
    processes.start("etcd", ["sleep", "60"])
    with pytest.raises(ClusterError, match=rf"cd {other} && python3 -m tests.cluster down"):
        local.down()
    processes.stop_recorded()


class _CountingBuilder(builders.Buildah):
    built = 0

    def build(self, name: str, context: Path, archive: Path) -> None:
        _CountingBuilder.built += 1
        archive.write_text(f"{name} {context}")


def _archive(folder: Path, manifest: dict[str, object]) -> Path:
    text = json.dumps([manifest]).encode()
    with tarfile.open(folder / "image.tar", "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return folder / "image.tar"


def _is_gone(pid: int) -> bool:
    """Whether the process has ended; as its parent, this collects it."""
    try:
        os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return True
    return False
