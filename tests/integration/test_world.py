"""The simulated API server keeps to the rules of the real one: each is asked the same, and answers the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest
from agentruns.cluster import CONFIG_MAPS, PODS

from tests.accounts import Account, Body
from tests.simulation.world.api import ApiServer, Refused, request
from tests.space import Space

GATE = "example.com/gate"
FINALIZER = "example.com/finalizer"
LABEL = {"example.com/world": "compared"}
GATE_OFF = [
    {"op": "test", "path": "/spec/schedulingGates/0/name", "value": GATE},
    {"op": "remove", "path": "/spec/schedulingGates"},
]
FINALIZER_OFF = [
    {"op": "test", "path": "/metadata/finalizers/0", "value": FINALIZER},
    {"op": "remove", "path": "/metadata/finalizers/0"},
]


@dataclass(frozen=True)
class Answer:
    """A code, a reason where it is a refusal, and what came with it."""

    code: int
    body: Body

    @property
    def said(self) -> str:
        """The code and the reason."""
        return f"{self.code} {self.body.get('reason', '') if self.code >= 400 else ''}".strip()

    @property
    def version(self) -> str:
        """The version of the object that came."""
        return str(self.body["metadata"]["resourceVersion"])


class Server(Protocol):
    """Whoever answers requests to a path."""

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """The answer; a body that is a list is a JSON patch."""


@dataclass(frozen=True)
class Real:
    """The API server of the cluster under test."""

    account: Account

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        kind = "application/json-patch+json" if isinstance(body, list) else "application/json"
        headers = {"Content-Type": kind, "Accept": "application/json"} | self.account.headers
        url = f"{self.account.api.configuration.host}{path}?{urlencode(query)}"
        text = None if body is None else json.dumps(body)
        answer = self.account.api.rest_client.pool_manager.request(method, url, headers=headers, body=text)
        return Answer(answer.status, json.loads(answer.data))


class Model:
    """The simulated one."""

    def __init__(self) -> None:
        numbers = count(1)
        self._api = ApiServer(lambda: datetime.now(UTC), lambda: f"uid-{next(numbers)}")

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        try:
            found = self._api.answer(request(method, path, query, body))
        except Refused as refused:
            return Answer(refused.code, refused.body())
        return Answer(201 if method == "POST" else 200, found)


@dataclass(frozen=True)
class Place:
    """A server, and a namespace in it."""

    server: Server
    namespace: str

    def config_map(self, name: str, **data: str) -> Body:
        """A ConfigMap that holds this."""
        metadata = {"name": name, "namespace": self.namespace, "labels": LABEL}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def pod(self, name: str, *, held: bool) -> Body:
        """A pod behind a gate, held by a finalizer or not."""
        finalizers = {"finalizers": [FINALIZER]} if held else {}
        security = {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        container = {"name": "tool", "image": "example.invalid/none", "securityContext": security}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": LABEL} | finalizers,
            "spec": {
                "schedulingGates": [{"name": GATE}],
                "nodeSelector": {"example.com/world": "nowhere"},
                "activeDeadlineSeconds": 60,
                "containers": [container],
            },
        }

    def create(self, body: Body, **query: str) -> Answer:
        """The answer to a creation."""
        return self.server.ask("POST", self._path(body), body, **query)

    def put(self, body: Body, subresource: str = "") -> Answer:
        """The answer to a replacement."""
        return self.server.ask("PUT", self._path(body, body["metadata"]["name"], subresource), body)

    def get(self, body: Body) -> Answer:
        """The object as it is."""
        return self.server.ask("GET", self._path(body, body["metadata"]["name"]))

    def patch(self, body: Body, operations: list[Body]) -> Answer:
        """The answer to a JSON patch."""
        return self.server.ask("PATCH", self._path(body, body["metadata"]["name"]), operations)

    def delete(self, body: Body, **preconditions: str) -> Answer:
        """The answer to a deletion under conditions."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        return self.server.ask("DELETE", self._path(body, body["metadata"]["name"]), options)

    def all(self, body: Body) -> Answer:
        """All objects of this kind with the label."""
        return self.server.ask("GET", self._path(body), labelSelector="example.com/world")

    def _path(self, body: Body, name: str = "", subresource: str = "") -> str:
        resource = PODS if body["kind"] == "Pod" else CONFIG_MAPS
        return resource.path(self.namespace, name, subresource)


def created_twice(place: Place) -> list[Any]:
    body = place.config_map("twice", a="1")
    return [place.create(body).said, place.create(body).said]


def created_by_a_dry_run(place: Place) -> list[Any]:
    body = place.config_map("dry", a="1")
    return [place.create(body, dryRun="All").said, place.get(body).said]


def changed_by_nothing(place: Place) -> list[Any]:
    body = place.config_map("same", a="1")
    made = place.create(body)
    same = place.patch(body, [{"op": "add", "path": "/data/a", "value": "1"}])
    other = place.patch(body, [{"op": "add", "path": "/data/a", "value": "2"}])
    return [same.said, same.version == made.version, other.said, int(other.version) > int(made.version)]


def patched_under_a_test(place: Place) -> list[Any]:
    body = place.config_map("tested", a="1")
    place.create(body)
    wrong = {"op": "test", "path": "/metadata/uid", "value": "another"}
    change = {"op": "add", "path": "/data/a", "value": "2"}
    found = place.patch(body, [wrong, change])
    missing = place.patch(body, [{"op": "remove", "path": "/data/b"}])
    return [found.said, missing.said, place.get(body).body["data"], place.patch(place.config_map("no"), [change]).said]


def put_from_a_stale_look(place: Place) -> list[Any]:
    body = place.pod("stale", held=False)
    stale = place.create(body).body
    place.patch(body, [{"op": "add", "path": "/metadata/annotations", "value": {"example.com/a": "1"}}])
    return [place.put(stale, "status").said, place.put(place.get(body).body, "status").said]


def put_to_another_of_the_same_name(place: Place) -> list[Any]:
    body = place.pod("again", held=False)
    first = place.create(body).body
    place.delete(body)
    place.create(body)
    return [place.put(first, "status").said]


def status_written_alone(place: Place) -> list[Any]:
    body = place.pod("status", held=False)
    made = place.create(body).body
    wanted = made["spec"] | {"activeDeadlineSeconds": 5}
    written = place.put({**made, "spec": wanted, "status": made["status"] | {"message": "said"}}, "status").body
    return [written["spec"]["activeDeadlineSeconds"], written["status"]["message"]]


def gate_removed_twice(place: Place) -> list[Any]:
    body = place.pod("gated", held=False)
    place.create(body)
    return [place.patch(body, GATE_OFF).said, place.patch(body, GATE_OFF).said]


def deadline_moved(place: Place) -> list[Any]:
    body = place.pod("deadline", held=False)
    place.create(body)
    moves = [[{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": it}] for it in (1, 1, 60)]
    return [place.patch(body, it).said for it in moves]


def deleted_under_conditions(place: Place) -> list[Any]:
    body = place.config_map("conditions", a="1")
    made = place.create(body).body["metadata"]
    wrong_uid, wrong_version = place.delete(body, uid="another"), place.delete(body, resourceVersion="1")
    right = place.delete(body, uid=made["uid"], resourceVersion=made["resourceVersion"])
    return [wrong_uid.said, wrong_version.said, right.said, place.delete(body).said]


def gated_pod_deleted(place: Place) -> list[Any]:
    body = place.pod("deleted", held=False)
    place.create(body)
    deleted = place.delete(body)
    return [deleted.said, deleted.body["kind"], place.get(body).said]


def held_pod_deleted(place: Place) -> list[Any]:
    body = place.pod("held", held=True)
    place.create(body)
    deleted = place.delete(body)
    there = place.get(body)
    again = place.delete(body)
    let_go = place.patch(body, FINALIZER_OFF)
    marked = "deletionTimestamp" in deleted.body["metadata"]
    return [deleted.said, marked, there.said, again.said, let_go.said, place.get(body).said]


def listed(place: Place) -> list[Any]:
    body = place.config_map("listed", a="1")
    made = place.create(body)
    found = place.all(body)
    names = [it["metadata"]["name"] for it in found.body["items"]]
    return [found.said, "listed" in names, int(found.version) >= int(made.version)]


CASES: list[Callable[[Place], list[Any]]] = [
    created_twice,
    created_by_a_dry_run,
    changed_by_nothing,
    patched_under_a_test,
    put_from_a_stale_look,
    put_to_another_of_the_same_name,
    status_written_alone,
    gate_removed_twice,
    deadline_moved,
    deleted_under_conditions,
    gated_pod_deleted,
    held_pod_deleted,
    listed,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_the_simulated_api_server_answers_as_the_real_one(case: Callable[[Place], list[Any]], space: Space) -> None:
    assert case(Place(Model(), space.name)) == case(Place(Real(space.admin), space.name))
