"""What the chart renders for which values, without a cluster."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from agentruns import metrics
from agentruns.leadership import LEASE
from agentruns.settings import Settings

from tests.cluster.toolchain import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "agentruns"
STAMPING = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
EVERYTHING: dict[str, Any] = {
    "monitoring": {"serviceMonitor": {"enabled": True}, "alerts": {"enabled": True}},
    "nodeSelector": {"pool": "system"},
    "imagePullSecrets": ["registry"],
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "priorityClassName": "system",
}

Object = dict[str, Any]


def rendered(chart: Path = CHART, *, apis: tuple[str, ...] = (STAMPING,), **values: Any) -> list[Object]:
    """The objects of a release in the namespace `here`; a CalledProcessError if it cannot be rendered."""
    return list(yaml.load_all(text_of(chart, apis, json.dumps(values)), yaml.CSafeLoader))


@cache
def text_of(chart: Path, apis: tuple[str, ...], values: str) -> str:
    """The same as text, rendered once."""
    command = [str(helm()), "template", "agentruns", str(chart), "--namespace=here", "--values=-"]
    options = [f"--api-versions={api}" for api in apis]
    done = subprocess.run([*command, *options], input=values, capture_output=True, text=True, check=True)
    return done.stdout


def refusal(**values: Any) -> str:
    """Why these values are refused."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(**values)
    return str(refused.value.stderr)


def named(objects: list[Object], kind: str, name: str = "agentruns-operator") -> Object:
    """The one object of this kind and name."""
    [found] = [it for it in objects if it["kind"] == kind and it["metadata"]["name"] == name]
    return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [it for it in objects if it["kind"].endswith(kinds)]


def pod_specs(objects: list[Object]) -> Iterator[Object]:
    for it in objects:
        if it["kind"] == "Pod":
            yield it["spec"]
        elif it["kind"] in ("Deployment", "Job"):
            yield it["spec"]["template"]["spec"]


def test_helm_finds_nothing_to_complain_about() -> None:
    done = subprocess.run([helm(), "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it is published, in which a symbolic link would have nothing to point to."""
    folder = tmp_path_factory.mktemp("chart")
    subprocess.run([helm(), "package", CHART, f"--destination={folder}"], capture_output=True, check=True)
    return next(folder.glob("*.tgz"))


@pytest.mark.parametrize("path", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_crds_are_those_of_this_checkout_and_stay(path: Path, package: Path) -> None:
    published = yaml.load(path.read_text(), yaml.CSafeLoader)
    for chart in (CHART, package):
        crd = named(rendered(chart), "CustomResourceDefinition", published["metadata"]["name"])
        assert crd["spec"] == published["spec"]
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("identity", ["Stamped", "Claimed"])
def test_every_policy_is_bound_fails_closed_and_stays(identity: str) -> None:
    objects = rendered(approvals={"identity": identity})
    policies, bindings = of_kind(objects, "AdmissionPolicy"), of_kind(objects, "AdmissionPolicyBinding")
    assert {it["spec"]["failurePolicy"] for it in policies} == {"Fail"}
    kinds = {it["metadata"]["name"]: it["kind"] for it in policies}
    assert kinds == {it["spec"]["policyName"]: it["kind"].removesuffix("Binding") for it in bindings}
    assert set(kinds.values()) == {"ValidatingAdmissionPolicy"} | ({STAMPING[-23:]} if identity == "Stamped" else set())
    assert all(it["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for it in policies + bindings)
    assert all(set(it["spec"]) <= {"policyName", "validationActions"} for it in bindings)  # no exceptions
    checks = [it["spec"]["validationActions"] for it in bindings if it["kind"].startswith("Validating")]
    assert checks == [["Deny"]] * len(checks)


def test_stamping_needs_a_cluster_that_can_do_it() -> None:
    said = refusal(apis=())
    assert f"approvals.identity=Stamped needs {STAMPING} (Kubernetes 1.36 or newer)" in said
    assert "set approvals.identity=Claimed" in said
    assert rendered(apis=(), approvals={"identity": "Claimed"})


def test_the_operator_reads_the_settings_it_is_given() -> None:
    sandbox = {
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        "caBundleConfigMap": "ca",
        "imagePullSecrets": ["registry"],
        "nodeSelector": {"pool": "sandboxes"},
        "tolerations": [{"key": "sandboxes", "operator": "Exists"}],
        "priorityClassName": "low",
    }
    retention = {"podRetention": "90m", "claimRetention": "24h"}
    values: Object = {"watchNamespaces": ["a", "b"], "logLevel": "DEBUG", **retention, "sandbox": sandbox}
    values["limits"] = {"activePods": 50, "activePodsPerNamespace": 5}
    values["leaderElection"] = False
    objects = rendered(approvals={"identity": "Claimed"}, **values)
    settings = Settings.model_validate_json(named(objects, "ConfigMap")["data"]["settings.json"])
    assert settings.watch_namespaces == ("a", "b")
    assert settings.log_level == "DEBUG"
    assert settings.leader_election is False
    assert settings.pod_retention == timedelta(minutes=90)
    assert settings.limits.model_dump(by_alias=True) == values["limits"]
    assert settings.claim_retention == timedelta(days=1)
    assert settings.sandbox.model_dump(by_alias=True, mode="json") == sandbox
    default = named(rendered(), "ConfigMap")["data"]["settings.json"]
    assert Settings.model_validate_json(default) == Settings()


def test_other_settings_make_another_pod() -> None:
    both: list[Object] = [{}, {"logLevel": "DEBUG"}]
    sums = {
        named(rendered(**values), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for values in both
    }
    assert len(sums) == 2


def test_every_pod_is_locked_down_and_placed() -> None:
    specs = list(pod_specs(rendered(**EVERYTHING)))
    assert len(specs) == 3
    for spec in specs:
        [container] = spec["containers"]
        assert spec["securityContext"] | {"runAsNonRoot": True, "runAsUser": 65532} == spec["securityContext"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"] == "768Mi"
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        for key in ("nodeSelector", "tolerations", "priorityClassName"):
            assert spec[key] == EVERYTHING[key]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "docker.io/agentruns/operator:dev"),
        (
            {"image": {"tag": "1.2"}, "global": {"imageRegistry": "m.example"}},
            "m.example/agentruns/operator:1.2",
        ),
        ({"image": {"digest": f"sha256:{'0' * 64}"}}, f"docker.io/agentruns/operator@sha256:{'0' * 64}"),
    ],
)
def test_the_image_comes_from_where_it_is_said(values: Object, image: str) -> None:
    assert {spec["containers"][0]["image"] for spec in pod_specs(rendered(**values))} == {image}


@pytest.mark.parametrize("namespaces", [[], ["a", "b"]])
def test_roles_name_what_they_allow_and_no_secrets(namespaces: list[str]) -> None:
    rules = [rule for it in of_kind(rendered(watchNamespaces=namespaces), "Role") for rule in it["rules"]]
    words = {word for rule in rules for words in rule.values() for word in words}
    assert not [word for word in words if "*" in word or word.startswith("secrets")]
    assert {"bind", "escalate", "impersonate", "pods/exec", "pods/attach"} & words == set()


def test_with_watched_namespaces_the_operator_has_roles_there_alone() -> None:
    objects = rendered(watchNamespaces=["a", "b"])
    everywhere = {it["metadata"]["name"] for it in of_kind(objects, "ClusterRole")}
    assert everywhere == {f"agentruns-{who}" for who in ("viewer", "author", "toolowner", "approver")}
    assert of_kind(objects, "ClusterRoleBinding") == []
    role = named(rendered(), "ClusterRole")["rules"]
    lease = named(objects, "Role", "agentruns-operator-lease")
    assert lease["metadata"]["namespace"] == "here"
    mine = [it for it in of_kind(objects, "Role") if it["metadata"]["name"] == "agentruns-operator"]
    assert [(it["metadata"]["namespace"], it["rules"]) for it in mine] == [("a", role), ("b", role)]


def test_there_is_always_one_operator_that_is_ready() -> None:
    objects = rendered(replicas=1)
    assert named(objects, "Deployment")["spec"]["replicas"] == 1
    assert named(rendered(), "Deployment")["spec"]["replicas"] == 2
    deployment = named(objects, "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = named(objects, "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, deployment["selector"])
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert deployment["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()


def test_the_operator_reaches_its_one_lease_and_makes_no_other() -> None:
    objects = rendered()
    rules = named(objects, "Role", "agentruns-operator-lease")["rules"]
    named_ = {verb: rule.get("resourceNames") for rule in rules for verb in rule["verbs"]}
    assert named_ == {"create": None, "get": [LEASE], "update": [LEASE]}
    policy = named(objects, "ValidatingAdmissionPolicy", "operator-objects.agentrun.dev")["spec"]
    assert f"variables.kind != 'leases' || object.metadata.name == '{LEASE}'" in str(policy["validations"])


def test_no_role_is_part_of_another_unless_asked_for_and_approver_never() -> None:
    def into(**values: Any) -> dict[str, set[str]]:
        roles = {it["metadata"]["name"]: it["metadata"]["labels"] for it in of_kind(rendered(**values), "ClusterRole")}
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        found = {name: {key.removeprefix(prefix) for key in labels if prefix in key} for name, labels in roles.items()}
        return {name.removeprefix("agentruns-"): roles for name, roles in found.items() if roles}

    assert into() == {}
    writers = {"edit", "admin"}
    assert into(rbac={"aggregateToEdit": True}) == {
        "viewer": {"view", *writers},
        "author": writers,
        "toolowner": writers,
    }


def test_the_alerts_are_about_metrics_that_there_are() -> None:
    objects = rendered(**EVERYTHING)
    [group] = named(objects, "PrometheusRule")["spec"]["groups"]
    assert len(group["rules"]) == 4
    used = {name for rule in group["rules"] for name in re.findall(r"agentruns_(\w+)", rule["expr"])}
    assert len(used) >= 4
    source = Path(metrics.__file__).read_text()
    assert [name for name in used if f'{name}"' not in source] == []
    labels = named(objects, "Service")["metadata"]["labels"]
    selector = named(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_nothing_of_the_prometheus_operator_is_there_unless_asked_for() -> None:
    assert of_kind(rendered(), "ServiceMonitor", "PrometheusRule") == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"approvals": {"identity": "None"}}, "at '/approvals/identity': value must be one of 'Stamped', 'Claimed'"),
        ({"approvals": {"serviceAccounts": ["bot"]}}, "at '/approvals/serviceAccounts/0'"),
        ({"approvals": {"serviceAccounts": ["*:*"]}}, "at '/approvals/serviceAccounts/0'"),
        ({"tools": {"allowedImagePrefixes": ["registry.example"]}}, "at '/tools/allowedImagePrefixes/0'"),
        ({"watchNamespaces": "shop"}, "at '/watchNamespaces': got string, want array"),
        ({"watchNamespaces": ["shop", "shop"]}, "at '/watchNamespaces': items at 0 and 1 are equal"),
        ({"sandbox": {"env": [{"name": "AGENTRUN_INPUT", "value": "{}"}]}}, "at '/sandbox/env/0/name'"),
        ({"sandbox": {"env": [{"name": "A", "valueFrom": {}}]}}, "at '/sandbox/env/0'"),
        ({"image": {"digest": "sha256:1"}}, "at '/image/digest'"),
        ({"image": {"tag": ""}}, "at '/image'"),
        ({"podRetention": "1 hour"}, "at '/podRetention'"),
        ({"limits": {"activePods": -1}}, "at '/limits/activePods'"),
        ({"limits": {"pods": 1}}, "at '/limits'"),
        ({"claimRetention": "30d"}, "at '/claimRetention'"),
    ],
)
def test_wrong_values_are_refused(values: Object, said: str) -> None:
    assert said in refusal(**values)


def test_what_is_demanded_of_tools_is_in_their_policy() -> None:
    def messages(**tools: Any) -> str:
        policy = named(rendered(tools=tools), "ValidatingAdmissionPolicy", "tools.agentrun.dev")
        return " ".join(rule["message"] for rule in policy["spec"]["validations"])

    assert "spec.image must end in a digest" in messages()
    assert "spec.image must end in a digest" not in messages(allowTags=True)
    prefixes = ["registry.example/tools/", "registry.example/refund@"]
    said = "spec.image must begin with one of: registry.example/tools/, registry.example/refund@"
    assert said in messages(allowedImagePrefixes=prefixes)
    assert "must begin with" not in messages()
