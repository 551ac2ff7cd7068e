"""What the operator's own account cannot do: whoever gets hold of it is still inside of the walls that it builds."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from agentruns.core.collecting import with_mark
from agentruns.core.resources import AgentRun, owner

from tests.installed import SYSTEM
from tests.shop import MANAGED, Shop, agentrun, claim, managed, pod, sandbox
from tests.waiting import until

TOKEN = {"serviceAccountToken": {"path": "token"}}
SECURITY = "spec.containers.0.securityContext"


def changed(body: Any, path: str, value: Any) -> Any:
    """A copy with the value at this path, or without anything there if the value is None."""
    first, _, rest = path.partition(".")
    if isinstance(body, list):
        there = changed(body[int(first)], rest, value) if rest else value
        return [there if at == int(first) else item for at, item in enumerate(body)]
    inner = changed(body.get(first, {}), rest, value) if rest else value
    return {key: item for key, item in (body | {first: inner}).items() if item is not None}


def output_of(step: str) -> Any:
    """What a pod's file is made of: the stored output of a step."""
    return {"name": f"r-{step}-output-0a1b2c3d", "items": [{"key": "output.json", "path": f"{step}.json"}]}


OUTPUT = output_of("lookup")
FILES = {"name": "files", "projected": {"sources": [{"configMap": OUTPUT}]}}
MOUNT = {"name": "files", "mountPath": "/agentrun-files", "readOnly": True}


# A path in the pod, what is there instead, and what the API server says.
NO_SANDBOX: list[tuple[str, Any, str]] = [
    ("metadata.labels", {"a": "b"}, "the operator's pods have the label agentrun.dev/run-uid, and keep it"),
    ("metadata.labels", {"agentrun.dev/run-uid": "1"}, "controlled by one AgentRun, whose uid is its label"),
    ("metadata.ownerReferences", None, "controlled by one AgentRun, whose uid is its label"),
    ("metadata.ownerReferences", [], "controlled by one AgentRun, whose uid is its label"),
    ("metadata.name", "refund", "ends in eight hex digits and -sandbox, by which it is closed to exec"),
    ("spec.schedulingGates", None, "born with the scheduling gate agentrun.dev/recorded"),
    ("spec.schedulingGates", [{"name": "example.com/other"}], "born with the scheduling gate agentrun.dev/recorded"),
    ("spec.serviceAccountName", "author", "no account of its own and no token"),
    ("spec.automountServiceAccountToken", None, "no account of its own and no token"),
    ("spec.automountServiceAccountToken", True, "no account of its own and no token"),
    ("spec.hostNetwork", True, "shares no namespace of its node"),
    ("spec.hostPID", True, "shares no namespace of its node"),
    ("spec.hostIPC", True, "shares no namespace of its node"),
    ("spec.shareProcessNamespace", True, "shares no namespace of its node"),
    ("spec.volumes.0", {"name": "tmp", "hostPath": {"path": "/"}}, "volumes are empty directories and ConfigMaps"),
    ("spec.volumes.0", {"name": "tmp", "secret": {"secretName": "s"}}, "volumes are empty directories and ConfigMaps"),
    ("spec.volumes.0", {"name": "tmp", "configMap": {"name": "other"}}, "of whole ConfigMaps, a sandbox has the one"),
    ("spec.volumes.0", {"name": "tmp", "projected": {"sources": [TOKEN]}}, "files are stored outputs of steps"),
    ("spec.containers", [{"name": "a", "image": "a"}, {"name": "tool", "image": "a"}], "one container, named tool"),
    ("spec.containers.0.name", "other", "one container, named tool"),
    ("spec.initContainers", [{"name": "i", "image": "i"}], "one container, named tool"),
    ("spec.securityContext", None, "somebody else than root, with the runtime's seccomp profile"),
    ("spec.securityContext.runAsNonRoot", False, "somebody else than root"),
    ("spec.securityContext.seccompProfile.type", "Unconfined", "with the runtime's seccomp profile"),
    (SECURITY, None, "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.privileged", True, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    (f"{SECURITY}.allowPrivilegeEscalation", True, "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.readOnlyRootFilesystem", False, "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.capabilities.drop", ["NET_RAW"], "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.capabilities.add", ["NET_ADMIN"], "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.runAsUser", 0, "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.runAsNonRoot", False, "no privileges, no capabilities and a read-only root"),
    (f"{SECURITY}.seccompProfile", {"type": "Unconfined"}, "no privileges, no capabilities and a read-only root"),
    (
        "spec.securityContext.sysctls",
        [{"name": "net.ipv4.ip_local_port_range", "value": "1 2"}],
        "somebody else than root",
    ),
    ("spec.securityContext.appArmorProfile", {"type": "Unconfined"}, "keeps the runtime's confinement"),
    ("spec.securityContext.seLinuxOptions", {"level": "s0"}, "keeps the runtime's confinement"),
    (f"{SECURITY}.appArmorProfile", {"type": "Unconfined"}, "keeps the runtime's confinement"),
    (f"{SECURITY}.seLinuxOptions", {"level": "s0"}, "keeps the runtime's confinement"),
    ("spec.containers.0.envFrom", [{"secretRef": {"name": "s"}}], "is given variables one by one"),
    ("spec.resourceClaims", [{"name": "gpu", "resourceClaimName": "gpu"}], "one container, named tool"),
    ("spec.containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "no port and no device of its node"),
]


def test_the_operator_makes_its_sandboxes(shop: Shop) -> None:
    assert shop.accounts["operator"].create(shop.at("pods"), sandbox(shop.run, 2)).status == 201


@pytest.mark.parametrize(("path", "value", "said"), NO_SANDBOX)
def test_the_operator_makes_no_other_pod(shop: Shop, path: str, value: Any, said: str) -> None:
    answer = shop.accounts["operator"].create(shop.at("pods"), changed(sandbox(shop.run, 2), path, value))
    assert answer.refused
    assert said in answer.message


def with_files(run: Any, path: str = "volume.name", value: Any = "files") -> Any:
    """A sandbox that reads a file, with something else at this path of the file's volume and mount."""
    files = changed({"volume": FILES, "mount": MOUNT}, path, value)
    body = sandbox(run, 2)
    [container] = body["spec"]["containers"]
    mounts = [*container["volumeMounts"], files["mount"]]
    body = changed(body, "spec.volumes", [*body["spec"]["volumes"], files["volume"]])
    return changed(body, "spec.containers.0.volumeMounts", mounts)


def test_a_sandbox_may_read_an_output_of_a_step(shop: Shop) -> None:
    answer = shop.accounts["operator"].create(shop.at("pods"), with_files(shop.run))
    assert answer.status == 201, answer.message


SOURCE = "volume.projected.sources.0.configMap"
NO_OUTPUT = "a sandbox's files are stored outputs of steps"
NO_FILE = "what a sandbox is given as files is there to be read, in /agentrun-files"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{SOURCE}.name", "settings", NO_OUTPUT),
        (f"{SOURCE}.name", "refund-output-0a1b2c3d-more", NO_OUTPUT),
        (f"{SOURCE}.optional", True, NO_OUTPUT),
        (f"{SOURCE}.items", None, NO_OUTPUT),
        (f"{SOURCE}.items", [{"key": "other", "path": "lookup.json"}], NO_OUTPUT),
        (f"{SOURCE}.items", [*OUTPUT["items"], {"key": "other", "path": "other"}], NO_OUTPUT),
        ("volume.projected.sources", [{"configMap": OUTPUT}, TOKEN], NO_OUTPUT),
        ("volume.projected.sources", [{"secret": {"name": OUTPUT["name"]}}], NO_OUTPUT),
        ("volume.projected.sources", [{"downwardAPI": {}}], NO_OUTPUT),
        ("volume.projected.sources", [{"configMap": output_of(f"s{n}")} for n in range(33)], NO_OUTPUT),
        ("volume", {"name": "files", "configMap": OUTPUT}, "of whole ConfigMaps, a sandbox has the one"),
        ("mount.readOnly", None, NO_FILE),
        ("mount.readOnly", False, NO_FILE),
        ("mount.mountPath", "/usr/local/bin", NO_FILE),
        ("mount.mountPath", "/agentrun-files/../usr", NO_FILE),
    ],
)
def test_a_sandbox_may_read_nothing_else(shop: Shop, path: str, value: Any, said: str) -> None:
    answer = shop.accounts["operator"].create(shop.at("pods"), with_files(shop.run, path, value))
    assert answer.refused
    assert said in answer.message


def test_the_operator_stays_away_from_other_pods(shop: Shop) -> None:
    place = shop.stored("pods", pod("other"), by="editor")
    operator = shop.accounts["operator"]
    said = "the operator's pods have the label agentrun.dev/run-uid"
    labels = {"metadata": {"labels": {"agentrun.dev/run-uid": "1"}}}
    for answer in (operator.delete(place), operator.patch(place, labels), operator.delete(shop.at("pods"))):
        assert said in answer.message


def test_the_operator_does_with_its_sandboxes_what_it_must(shop: Shop) -> None:
    operator = shop.accounts["operator"]
    place = shop.stored("pods", sandbox(shop.run, 2))
    ungate = [{"op": "remove", "path": "/spec/schedulingGates/0"}]
    release = [{"op": "remove", "path": "/metadata/finalizers"}]
    stop = {"spec": {"activeDeadlineSeconds": 1}}
    for answer in (operator.patch(place, ungate), operator.patch(place, release), operator.patch(place, stop)):
        assert answer.status == 200, answer.message
    assert operator.delete(place).status == 200


@pytest.mark.parametrize("plural", ["networkpolicies", "configmaps", "controllerrevisions"])
def test_the_operator_makes_only_what_is_labelled_as_its_own(shop: Shop, plural: str) -> None:
    operator, body = shop.accounts["operator"], changed(managed(shop.run)[plural], "metadata.name", "other")
    assert operator.create(shop.at(plural), body).status == 201
    for labels in ({}, {"app.kubernetes.io/managed-by": "Helm"}):
        answer = operator.create(shop.at(plural), changed(body, "metadata.labels", labels))
        assert "the operator's objects are labelled app.kubernetes.io/managed-by=agentruns" in answer.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "payments-refund-2"),
        ("metadata.labels", MANAGED),
        ("metadata.ownerReferences", "the run"),
    ],
)
def test_of_its_config_maps_the_operator_changes_claims_alone(shop: Shop, path: str, value: Any) -> None:
    operator = shop.accounts["operator"]
    value = [owner(AgentRun.model_validate(shop.run))] if value == "the run" else value
    body = changed(claim("agentrun-task-fence"), path, value)
    place = shop.stored("configmaps", body)
    refused = operator.replace(place, body | {"data": {"state": "Failed"}})
    assert "of its ConfigMaps the operator changes only claims of tasks" in refused.message
    assert "the operator deletes only claims of tasks that are not in flight" in operator.delete(place).message
    assert shop.accounts["admin"].delete(place, store=True).status == 200


def test_the_operator_changes_its_claims(shop: Shop) -> None:
    operator = shop.accounts["operator"]
    place = shop.stored("configmaps", claim("agentrun-task-kept"))
    ended = claim("agentrun-task-kept") | {"data": {"state": "Failed"}}
    assert "the operator deletes only claims of tasks that are not in flight" in operator.delete(place).message
    assert operator.replace(place, ended, store=True).status == 200
    assert operator.delete(place).status == 200
    assert "changes only claims of tasks" in operator.replace(place, changed(ended, "metadata.labels", MANAGED)).message


def test_the_operators_network_rules_are_for_sandboxes_alone(shop: Shop) -> None:
    body = managed(shop.run)["networkpolicies"]
    for selector in ({}, {"matchLabels": {"app": "shop"}}, {"matchLabels": {"agentrun.dev/run-uid": "1"}}):
        other = changed(body, "spec.podSelector", selector)
        answer = shop.accounts["operator"].create(shop.at("networkpolicies"), other)
        assert "the operator's network rules are for sandboxes alone" in answer.message


@pytest.mark.parametrize("plural", ["networkpolicies", "controllerrevisions"])
def test_the_operator_deletes_only_what_was_marked_as_unused(shop: Shop, plural: str) -> None:
    operator, body = shop.accounts["operator"], managed(shop.run)[plural]
    place = shop.stored(plural, changed(body, "metadata.name", "agentrun-egress-fenced"))
    assert "the operator deletes only what was marked as unused" in operator.delete(place).message
    assert operator.replace(place, with_mark(operator.get(*place).body, "1"), store=True).status == 200
    assert operator.delete(place).status == 200


def test_the_operator_does_not_change_what_its_network_rules_say(shop: Shop) -> None:
    rule = changed(managed(shop.run)["networkpolicies"], "metadata.name", "agentrun-egress-kept")
    operator, place = shop.accounts["operator"], shop.stored("networkpolicies", rule)
    answer = operator.replace(place, changed(operator.get(*place).body, "spec.egress", [{}]))
    assert "does not change what its network rules say" in answer.message


def over(shop: Shop, place: tuple[str, ...]) -> bool:
    """Whether the operator's account could write that a run has succeeded."""
    body = shop.with_status(place, {"phase": "Succeeded"})
    return shop.accounts["operator"].replace((*place, "status"), body, store=True).status == 200


def test_the_operator_deletes_a_run_only_when_its_time_is_over(shop: Shop) -> None:
    operator = shop.accounts["operator"]
    kept = shop.stored("agentruns", agentrun(), by="author")
    expiring = shop.stored("agentruns", agentrun(idempotencyKey="k", ttlAfterFinished="1h"), by="author")
    for place in (kept, expiring):
        assert "only if it is over and has a ttlAfterFinished" in operator.delete(place).message
        written = partial(over, shop, place)
        until(written, "the run's status is written, though its operator may just have done so too")
    assert "only if it is over and has a ttlAfterFinished" in operator.delete(kept).message
    assert operator.delete(expiring).status == 200


def test_the_clusters_own_accounts_do_their_work_on_sandboxes_and_no_more(shop: Shop) -> None:
    """The garbage collector and the kubelet change sandboxes; a ReplicaSet makes none, whatever its template says."""
    collector = shop.as_person("system:serviceaccount:kube-system:generic-garbage-collector")
    replicas = shop.as_person("system:serviceaccount:kube-system:replicaset-controller")
    place = shop.stored("pods", sandbox(shop.run, 3))
    assert collector.patch(place, {"metadata": {"ownerReferences": None}}).status == 200
    assert "are changed by the operator alone" in collector.patch(place, {"metadata": {"labels": {"a": "b"}}}).message
    template = changed(sandbox(shop.run), "metadata.name", "shop-76f4b-sandbox")
    assert "are made by the operator alone" in replicas.create(shop.at("pods"), template).message
    assert not replicas.create(shop.at("pods"), changed(template, "metadata.labels", MANAGED)).refused


def test_the_operator_makes_no_lease_but_its_own(shop: Shop) -> None:
    operator, leases = shop.accounts["operator"], (SYSTEM, "leases")
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other"}, "spec": {}}
    assert "makes no Lease but the one" in operator.create(leases, body).message
    assert operator.create(leases, changed(body, "metadata.name", "agentruns-operator")).status == 409
    assert operator.create(shop.at("leases"), body).refused
