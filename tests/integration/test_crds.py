"""The published API on a real API server: what it accepts, what it refuses, and what it tells people.

The CRDs are served under a group of the tests' own, so that they alone answer: where the chart is installed, its
policies and its operator would answer as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
import yaml
from kubernetes.client import ApiException, CoreV1Api, CustomObjectsApi, V1Namespace, V1ObjectMeta
from kubernetes.config import new_client_from_config

from tests.cluster.places import CHECKOUT, KUBECONFIG
from tests.commands import kubectl, tried_kubectl
from tests.integration.manifests import ACCEPTED, BASE, REFUSED, UPDATE_ACCEPTED, UPDATE_REFUSED, Spec
from tests.waiting import until

GROUP = "crds.agentrun.test"
VERSION = (GROUP, "v1alpha1")
CRDS = {
    path.stem: yaml.safe_load(path.read_text().replace("agentrun.dev", GROUP))
    for path in sorted((CHECKOUT / "crds").glob("*.yaml"))
}


@pytest.fixture(scope="module")
def api() -> Iterator[CustomObjectsApi]:
    """A client of the cluster under test, on which the CRDs of this checkout are served."""
    if not KUBECONFIG.exists():
        pytest.fail(f"no cluster at {KUBECONFIG}: make cluster")
    crds = yaml.safe_dump_all(CRDS.values())
    kubectl("apply", "-f", "-", stdin=crds)
    until(is_served, "the CRDs of this checkout are served", 30)
    yield CustomObjectsApi(new_client_from_config(str(KUBECONFIG)))  # type: ignore[no-untyped-call]
    kubectl("delete", "--wait=false", "-f", "-", stdin=crds)


@pytest.fixture(scope="module")
def namespace(api: CustomObjectsApi) -> Iterator[str]:
    """The name of a namespace that is there for this module."""
    core = CoreV1Api(api.api_client)
    created: Any = core.create_namespace(V1Namespace(metadata=V1ObjectMeta(generate_name="crds-")))
    yield created.metadata.name
    core.delete_namespace(created.metadata.name)


def is_served() -> bool:
    """Whether the API server publishes all three kinds as this checkout describes them."""
    published = tried_kubectl("get", "--raw", f"/openapi/v3/apis/{'/'.join(VERSION)}").stdout
    return all(json.dumps(schema_of(plural)["description"]) in published for plural in CRDS)


def rows(table: dict[str, list[Any]]) -> list[Any]:
    """The rows of a table by kind, each with its kind's plural in front."""
    return [(plural, *row) for plural, changes in table.items() for row in changes]


def manifest(plural: str, change: Spec, **more: Any) -> Spec:
    """An object of this kind, the smallest valid one but for the change to its spec."""
    kind = CRDS[plural]["spec"]["names"]["kind"]
    metadata = {"generateName": "test-"}
    spec = BASE[plural] | change
    return {"apiVersion": "/".join(VERSION), "kind": kind, "metadata": metadata, "spec": spec} | more


def create(api: CustomObjectsApi, namespace: str, plural: str, change: Spec, dry_run: str | None = None) -> Spec:
    """The smallest valid object but for the change to its spec, as it is stored, or with dry_run="All" would be."""
    body = manifest(plural, change)
    options: Any = {"dry_run": dry_run, "field_validation": "Strict"}
    return cast(Spec, api.create_namespaced_custom_object(*VERSION, namespace, plural, body, **options))


def update(api: CustomObjectsApi, plural: str, stored: Spec, patch: Spec) -> Spec:
    """The stored object as it would be after this merge patch of its spec."""
    where = (stored["metadata"]["namespace"], plural, stored["metadata"]["name"])
    options: Any = {"dry_run": "All", "field_validation": "Strict"}
    return cast(Spec, api.patch_namespaced_custom_object(*VERSION, *where, {"spec": patch}, **options))


def message(refusal: pytest.ExceptionInfo[ApiException]) -> str:
    """The sentence with which the API server refused."""
    return str(json.loads(str(refusal.value.body))["message"])


def contains(whole: Any, part: Any) -> bool:
    """Whether all of part is there in whole, which may have more (defaults)."""
    if isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(contains(*pair) for pair in zip(whole, part, strict=True))
    return bool(whole == part)


@pytest.mark.parametrize(("plural", "change", "said"), rows(REFUSED))
def test_a_bad_manifest_is_refused(api: CustomObjectsApi, namespace: str, plural: str, change: Spec, said: str) -> None:
    with pytest.raises(ApiException) as refusal:
        create(api, namespace, plural, change, dry_run="All")
    assert said in message(refusal)


@pytest.mark.parametrize(("plural", "change"), rows(ACCEPTED))
def test_a_good_manifest_is_accepted(api: CustomObjectsApi, namespace: str, plural: str, change: Spec) -> None:
    stored = create(api, namespace, plural, change, dry_run="All")
    assert contains(stored["spec"], {key: it for key, it in (BASE[plural] | change).items() if it is not None})


@pytest.mark.parametrize(("plural", "before", "patch", "said"), rows(UPDATE_REFUSED))
def test_a_bad_update_is_refused(
    api: CustomObjectsApi, namespace: str, plural: str, before: Spec, patch: Spec, said: str
) -> None:
    stored = create(api, namespace, plural, before)
    with pytest.raises(ApiException) as refusal:
        update(api, plural, stored, patch)
    assert said in message(refusal)


@pytest.mark.parametrize(("plural", "before", "patch"), rows(UPDATE_ACCEPTED))
def test_a_good_update_is_accepted(
    api: CustomObjectsApi, namespace: str, plural: str, before: Spec, patch: Spec
) -> None:
    stored = create(api, namespace, plural, before)
    assert update(api, plural, stored, patch)["spec"] != stored["spec"]


def test_what_is_left_out_gets_the_documented_defaults(api: CustomObjectsApi, namespace: str) -> None:
    run = create(api, namespace, "agentruns", {}, dry_run="All")["spec"]
    assert run == BASE["agentruns"] | {"order": "Sequence", "parallelism": 10, "desiredState": "Running"}
    tool = create(api, namespace, "tools", {}, dry_run="All")["spec"]
    retry = {"attempts": 3, "initialBackoff": "1s", "maxBackoff": "60s"}
    assert tool == BASE["tools"] | {"effect": "NonIdempotent", "timeout": "5m", "retry": retry}


def test_the_largest_run_fits_into_the_cost_limits(api: CustomObjectsApi, namespace: str) -> None:
    names = [f"s{number}".ljust(40, "x") for number in range(1000)]
    steps = [
        {"name": name, "tool": "t" * 63, "timeout": "8760h", "needs": names[max(0, at - 16) : at], "args": {"at": [at]}}
        for at, name in enumerate(names)
    ]
    change = {"order": "Graph", "steps": steps, "input": {"text": "x" * 65536}}
    stored = create(api, namespace, "agentruns", change)
    assert update(api, "agentruns", stored, {"desiredState": "Paused"})["spec"]["desiredState"] == "Paused"


@pytest.mark.parametrize("more", [{}, {"status": {"phase": "Succeeded"}}])
def test_applying_again_changes_nothing_and_no_status(api: CustomObjectsApi, namespace: str, more: Spec) -> None:
    name = f"applied-{len(more)}"
    body = json.dumps(manifest("agentruns", {}, metadata={"name": name}, **more))
    stored, said = list[Any](), list[str]()
    for _ in range(3):
        said.append(kubectl("apply", "-n", namespace, "-f", "-", stdin=body).split()[-1])
        stored.append(api.get_namespaced_custom_object(*VERSION, namespace, "agentruns", name))
        if more:  # the API server writes out its own default of what it drops, once
            del stored[-1]["metadata"]["resourceVersion"]
    assert stored[0] == stored[1] == stored[2]
    assert said == ["created", "unchanged", "unchanged"] or more, said
    assert stored[0]["status"] == {"observedGeneration": 0, "phase": "Pending"}


def test_an_approval_is_pending_from_the_first_moment(api: CustomObjectsApi, namespace: str) -> None:
    name = create(api, namespace, "approvals", {"runRef": {"name": "pending", "uid": "1"}})["metadata"]["name"]
    selector = "--field-selector=status.state=Pending,spec.runRef.name=pending"
    [line] = kubectl("get", f"approvals.{GROUP}", "-n", namespace, selector, "--no-headers").splitlines()
    shown = f"{name} Pending Effect Refund 12.50 EUR of order 4711 payments-refund pending refund"
    assert line.split()[:-1] == shown.split()


@pytest.mark.parametrize(
    ("plural", "columns", "wide"),
    [
        ("agentruns", "NAME PHASE REASON PROGRESS WAITING AGE", "GOAL STARTED FINISHED"),
        ("tools", "NAME EFFECT APPROVAL READY PROBLEM AGE", "IMAGE DESCRIPTION"),
        ("approvals", "NAME STATE ASKS SUMMARY TOOL RUN STEP AGE", "REQUESTER VERDICT BY"),
    ],
)
def test_the_columns(api: CustomObjectsApi, namespace: str, plural: str, columns: str, wide: str) -> None:
    create(api, namespace, plural, {})
    shown = [kubectl("get", f"{plural}.{GROUP}", "-n", namespace, *more) for more in ((), ("-o", "wide"))]
    assert [text.split("\n")[0].split() for text in shown] == [columns.split(), f"{columns} {wide}".split()]


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("path", ["agentruns.spec", "agentruns.spec.steps", "tools.spec", "approvals.spec.decision"])
def test_explain_tells_every_field(path: str) -> None:
    explained = " ".join(kubectl("explain", path, f"--api-version={'/'.join(VERSION)}").split())
    plural, *names = path.split(".")
    schema = schema_of(plural)
    for name in names:
        schema = schema["properties"][name]
    described = schema.get("items", schema)["properties"].values()
    assert [field["description"] for field in described if field["description"] not in explained] == []


def schema_of(plural: str) -> Spec:
    """The schema of a kind, as its CRD in this checkout says."""
    return cast(Spec, CRDS[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def fields(path: str, schema: Spec) -> Iterator[tuple[str, Spec]]:
    """Each field below this one, and the items of lists and maps, with the path to it."""
    nested = {key: schema[key] for key in ("items", "additionalProperties") if key in schema}
    for name, field in (schema.get("properties", {}) | nested).items():
        yield f"{path}.{name}", field
        yield from fields(f"{path}.{name}", field)


BOUNDS = {
    "string": {"maxLength", "enum", "format"},
    "array": {"maxItems"},
    "integer": {"minimum"},
    "boolean": {"type"},
    "object": {"properties", "maxProperties", "x-kubernetes-preserve-unknown-fields"},
    None: {"maxLength", "x-kubernetes-preserve-unknown-fields"},  # a number or a string; any JSON
}


@pytest.mark.parametrize("plural", CRDS)
def test_every_field_is_described_and_bounded(plural: str) -> None:
    found = dict(fields(plural, schema_of(plural)))
    assert [path for path, field in found.items() if not field.get("description", "").endswith(".")] == []
    assert [path for path, field in found.items() if not BOUNDS[field.get("type")] & set(field)] == []
