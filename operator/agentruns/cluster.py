"""The Kubernetes API in this operator's verbs. Dicts go in and raw JSON comes out; nothing is tried twice here."""

import copy
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp  # the client's own transport: its kinds of time-out and error are not wrapped
from kubernetes.aio import client, config

from agentruns.core.naming import API_VERSION, LABEL_RUN_UID

Body = dict[str, Any]
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
TIMEOUT: Final = 20.0
"""Seconds for one request; following a log takes as long as it takes."""
LOG_TIMEOUT: Final = 60.0
"""Seconds for reading the log of a pod that has ended."""
CONNECTIONS: Final = 16
"""Connections for requests, each of which is answered in milliseconds."""

_PLURALS: Final = {
    "AgentRun": "agentruns",
    "Approval": "approvals",
    "ConfigMap": "configmaps",
    "ControllerRevision": "controllerrevisions",
    "Event": "events",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "Tool": "tools",
}


@dataclass
class ApiError(Exception):
    """The API server's answer to a request that it did not carry out."""

    status: int
    reason: str
    message: str
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"


@dataclass(frozen=True)
class Resource:
    """A kind in an API group and, through `path`, where its objects live."""

    api_version: str
    kind: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of an object, of its subresource, or of the collection if no name is given."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        space = f"/namespaces/{namespace}" if namespace else ""
        parts = [part for part in (_PLURALS[self.kind], name, subresource) if part]
        return f"{root}{space}/{'/'.join(parts)}"


RUNS: Final = Resource(API_VERSION, "AgentRun")
TOOLS: Final = Resource(API_VERSION, "Tool")
APPROVALS: Final = Resource(API_VERSION, "Approval")
PODS: Final = Resource("v1", "Pod")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap")
EVENTS: Final = Resource("v1", "Event")
REVISIONS: Final = Resource("apps/v1", "ControllerRevision")
POLICIES: Final = Resource("networking.k8s.io/v1", "NetworkPolicy")


class Cluster:
    """One connection pool to one API server. Every method raises ApiError for an answer that is not a success."""

    def __init__(self, api: client.ApiClient, streams: client.ApiClient) -> None:
        """`streams` carries followed logs, so that they never take the connections that writes need."""
        self._api, self._streams = api, streams
        self._host = api.configuration.host

    @classmethod
    async def connect(cls) -> Self:
        """The cluster of this pod's service account, or of KUBECONFIG outside a cluster."""
        configuration = client.Configuration()
        configuration.retries = None  # one retry layer: the queue
        configuration.connection_pool_maxsize = CONNECTIONS
        if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        streaming = copy.copy(configuration)
        streaming.connection_pool_maxsize = 0  # no limit: whoever follows logs keeps one
        return cls(client.ApiClient(configuration), client.ApiClient(streaming))

    async def close(self) -> None:
        """Ends every connection."""
        await self._api.close()
        await self._streams.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Body:
        """The object as the API server has it now."""
        return await self._call("GET", resource.path(namespace, name))

    async def list_all(self, resource: Resource, namespace: str | None = None, selector: str = "") -> Body:
        """The list of objects, everywhere or in a namespace."""
        query = {"labelSelector": selector} if selector else {}
        return await self._call("GET", resource.path(namespace), query=query)

    async def create(self, manifest: Body, *, dry_run: bool = False) -> Body:
        """The object as it was created, or as it would have been."""
        resource = Resource(manifest["apiVersion"], manifest["kind"])
        query = {"dryRun": "All"} if dry_run else {}
        path = resource.path(manifest["metadata"]["namespace"])
        return await self._call("POST", path, manifest, query=query)

    async def put_status(self, resource: Resource, body: Body) -> Body:
        """The object with a new status; 409 unless its resource version is still the one in the body."""
        metadata = body["metadata"]
        return await self._call("PUT", resource.path(metadata["namespace"], metadata["name"], "status"), body)

    async def patch(self, resource: Resource, namespace: str, name: str, operations: list[Body]) -> Body:
        """The object after a JSON patch, whose `test` operations are its conditions."""
        return await self._call("PATCH", resource.path(namespace, name), operations, content_type=JSON_PATCH)

    async def patch_status(self, resource: Resource, namespace: str, name: str, operations: list[Body]) -> Body:
        """The object after a JSON patch of its status."""
        return await self._call("PATCH", resource.path(namespace, name, "status"), operations, content_type=JSON_PATCH)

    async def delete(self, resource: Resource, namespace: str, name: str, preconditions: Body) -> Body:
        """The object as it is after its deletion was asked for; 409 if the preconditions do not hold."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        return await self._call("DELETE", resource.path(namespace, name), body)

    async def delete_pods(self, namespace: str, run_uid: str) -> None:
        """Deletes all pods of a run in one call."""
        query = {"labelSelector": f"{LABEL_RUN_UID}={run_uid}"}
        await self._call("DELETE", PODS.path(namespace), {"propagationPolicy": "Background"}, query=query)

    @asynccontextmanager
    async def pod_log(self, namespace: str, name: str, container: str, *, follow: bool) -> AsyncIterator[Any]:
        """The log of a container as a stream of bytes; with `follow` it ends when the container does."""
        query = {"container": container, "follow": str(follow).lower()}
        timeout = None if follow else LOG_TIMEOUT
        response = await self._request("GET", PODS.path(namespace, name, "log"), query=query, timeout=timeout)
        try:
            yield response.content
        finally:
            response.close()

    async def _call(
        self, method: str, path: str, body: Any = None, *, query: Body | None = None, content_type: str = ""
    ) -> Body:
        response = await self._request(method, path, body, query=query, content_type=content_type, timeout=TIMEOUT)
        with _reached():
            return dict(json.loads(await response.read()))

    async def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Body | None = None,
        content_type: str = "",
        timeout: float | None,
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        api = self._api if timeout else self._streams
        with _reached():
            answer = await api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=_timeout(timeout)
            )
        if answer.status >= 400:
            raise await _error(answer.response)
        return answer.response


@contextmanager
def _reached() -> Iterator[None]:
    """Has every way of not getting an answer raise ApiError 0, Unreachable."""
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise ApiError(0, "Unreachable", f"the API server did not answer: {error or type(error).__name__}") from error


def _timeout(seconds: float | None) -> Any:
    return aiohttp.ClientTimeout(total=seconds, connect=10, sock_read=None if seconds is None else seconds)


async def _error(response: Any) -> ApiError:
    text = await response.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = {}
    retry_after = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        str(status.get("reason") or response.reason),
        str(status.get("message") or text[:300]),
        float(retry_after) if retry_after.isdecimal() else None,
    )
