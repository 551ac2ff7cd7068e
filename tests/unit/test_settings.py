"""What an installation may set: read from one file, with every misspelt key refused."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from agentruns.core.observed import SandboxSettings
from agentruns.settings import Limits, Settings, own_identity, own_namespace
from pydantic import ValidationError


def read(tmp_path: Path, content: Any) -> Settings:
    """The settings of a file with this content."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(content))
    return Settings.read(path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert Settings.read(None) == read(tmp_path, {})
    assert Settings().pod_retention == timedelta(hours=1)
    assert Settings().sandbox == SandboxSettings()


def test_a_file_says_what_is_different(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            "watchNamespaces": ["shop"],
            "logLevel": "DEBUG",
            "podRetention": "1h30m",
            "limits": {"activePods": 100},
            "sandbox": {
                "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
                "caBundleConfigMap": "ca",
                "imagePullSecrets": ["pull"],
                "nodeSelector": {"pool": "sandboxes"},
                "tolerations": [{"operator": "Exists"}],
                "priorityClassName": "low",
            },
        },
    )
    assert (found.watch_namespaces, found.log_level, found.pod_retention) == (("shop",), "DEBUG", timedelta(minutes=90))
    assert found.limits == Limits(active_pods=100, active_pods_per_namespace=0)
    assert found.sandbox == SandboxSettings(
        env=({"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},),
        ca_bundle_config_map="ca",
        image_pull_secrets=("pull",),
        node_selector={"pool": "sandboxes"},
        tolerations=({"operator": "Exists"},),
        priority_class_name="low",
    )


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"logLevl": "DEBUG"}, "logLevl"),
        ({"sandbox": {"nodeSelectr": {}}}, "sandbox.nodeSelectr"),
        ({"sandbox": {"env": "HTTPS_PROXY"}}, "sandbox.env"),
        ({"podRetention": "1 hour"}, "podRetention"),
        ({"claimRetention": "30d"}, "claimRetention"),
        ({"metricsPort": "http"}, "metricsPort"),
        ({"limits": {"activePods": -1}}, "limits.activePods"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        read(tmp_path, content)


def test_a_pod_is_told_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "agentruns-system")
    assert own_namespace() == "agentruns-system"
    monkeypatch.delenv("POD_NAMESPACE")
    assert own_namespace() == "default"


def test_an_operator_is_the_same_after_a_restart_in_its_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "agentruns-operator-7c9d-x2k4p")
    assert own_identity() == "agentruns-operator-7c9d-x2k4p"
    monkeypatch.delenv("POD_NAME")
    assert own_identity() != own_identity()
