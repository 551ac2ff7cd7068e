"""Accounts of the cluster under test: each asks the API server with its own token, and gets its answer as it is."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiClient, AuthenticationV1TokenRequest, CoreV1Api, V1TokenRequestSpec

Body = dict[str, Any]

_GROUPS = {
    "agentruns": "apis/agentrun.dev/v1alpha1",
    "tools": "apis/agentrun.dev/v1alpha1",
    "approvals": "apis/agentrun.dev/v1alpha1",
    "pods": "api/v1",
    "configmaps": "api/v1",
    "serviceaccounts": "api/v1",
    "controllerrevisions": "apis/apps/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
}


_SECONDS = 30.0
"""For one request: a cluster that goes away ends the tests, and does not hang them."""


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: Body

    @property
    def refused(self) -> bool:
        """Whether it was forbidden or invalid; anything else got past every rule, even if it then could not be done."""
        return self.status in (403, 422)

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass(frozen=True)
class Account:
    """One account, and how it asks. Nothing it asks for is stored but with `store`."""

    api: ApiClient
    headers: dict[str, str]

    def get(self, *place: str) -> Answer:
        return self._ask("GET", place)

    def create(self, place: tuple[str, ...], body: Body, *, store: bool = False) -> Answer:
        return self._ask("POST", place, body, store=store)

    def replace(self, place: tuple[str, ...], body: Body, *, store: bool = False) -> Answer:
        return self._ask("PUT", place, body, store=store)

    def patch(self, place: tuple[str, ...], body: Body | list[Body], *, store: bool = False) -> Answer:
        kind = "json-patch" if isinstance(body, list) else "merge-patch"
        return self._ask("PATCH", place, body, store=store, kind=f"application/{kind}+json")

    def delete(self, place: tuple[str, ...], *, store: bool = False) -> Answer:
        return self._ask("DELETE", place, store=store)

    def connect(self, place: tuple[str, ...], **query: str) -> Answer:
        return self._ask("GET", place, query=query)

    def _ask(
        self,
        method: str,
        place: tuple[str, ...],
        body: Any = None,
        *,
        store: bool = False,
        kind: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Answer:
        """Asks for a place: namespace, plural, and perhaps a name and a subresource."""
        namespace, plural, *rest = place
        path = "/".join([_GROUPS[plural], "namespaces", namespace, plural, *rest])
        dry_run = {} if store or method == "GET" else {"dryRun": "All"}
        url = f"{self.api.configuration.host}/{path}?{urlencode((query or {}) | dry_run)}"
        headers = {"Content-Type": kind, "Accept": "application/json"} | self.headers
        text = None if body is None else json.dumps(body)
        pool = self.api.rest_client.pool_manager
        response = pool.request(method, url, headers=headers, body=text, timeout=_SECONDS)
        return Answer(response.status, _parsed(response.data))


def _parsed(data: Any) -> Body:
    try:
        return dict(json.loads(data))
    except ValueError:
        return {"message": str(data)}


def person(admin: ApiClient, name: str) -> Account:
    """Somebody of this name, without any group but that of everybody."""
    return Account(admin, {"Impersonate-User": name, "Impersonate-Group": "system:authenticated"})


def service_account(admin: ApiClient, namespace: str, name: str) -> Account:
    """The service account, by a token of its own."""
    request = AuthenticationV1TokenRequest(spec=V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    made = CoreV1Api(admin).create_namespaced_service_account_token(name, namespace, request)
    assert made.status
    configuration = copy(admin.configuration)
    configuration.cert_file = configuration.key_file = None
    return Account(ApiClient(configuration), {"Authorization": f"Bearer {made.status.token}"})
