"""The Kubernetes API in this operator's verbs. Dicts go in and raw JSON comes out; nothing is tried twice here."""

import asyncio
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

from agentruns.core.digests import values_in
from agentruns.core.model import Metadata, Status
from agentruns.core.naming import API_VERSION, LABEL_MANAGED_BY, LABEL_RUN_UID, LABEL_TASK, MANAGER
from agentruns.core.patches import Patch

Body = dict[str, Any]
TIMEOUT: Final = 20.0
"""Seconds for one request; following a log takes as long as it takes."""
LOG_TIMEOUT: Final = 60.0
"""Seconds for reading the log of a pod that has ended."""
MAX_RETRY_AFTER: Final = 60.0
CONNECTIONS: Final = 24
"""Connections for requests, each of which is answered in milliseconds: more than there are passes at once."""
LOG_BUFFER: Final = 65_536
"""Bytes of a log that are held before they are read; what follows waits at its node."""
PAGE: Final = 64
LARGEST_PAGE: Final = 512
"""Objects of one answer to a listing: at first, and at most, where they are small."""
PAGE_BYTES: Final = 4 * 1024 * 1024
PAGE_VALUES: Final = 500_000
"""Bytes of such an answer, and values in it, each of which takes up to 90, above which fewer objects are asked for."""
_USER_AGENT: Final = "agentruns-operator"
"""What the audit log and managedFields call this operator."""
_JSON: Final = "application/json"
ONLY_METADATA: Final = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON_PATCH: Final = "application/json-patch+json"
_NOT_ABOUT_THE_OBJECT: Final = (
    "cannot create resource",
    "cannot update resource",
    'serviceaccount "default" not found',
    "being terminated",
    "status unknown for quota",
)


@dataclass
class ApiError(Exception):
    """The API server's answer to a request that it did not carry out; status 0 is no answer at all."""

    status: int
    reason: str
    message: str
    retry_after: float = 0.0
    """Seconds for which the API server asks not to be asked again."""

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"

    @property
    def is_not_about_the_object(self) -> bool:
        """Whether a refusal is about our rights, or about a namespace that is just being made or ended."""
        return self.status == 403 and any(it in self.message for it in _NOT_ABOUT_THE_OBJECT)

    @property
    def is_trouble_of_the_server(self) -> bool:
        """Whether it is about no object at all, and passes by itself."""
        return self.status in (0, 429, 503, 504) or "etcdserver" in self.message

    @property
    def is_of_a_namespace_that_ends(self) -> bool:
        """Whether a creation was refused since its namespace is being deleted."""
        return self.status == 403 and "because it is being terminated" in self.message


@dataclass(frozen=True)
class Resource:
    """A kind in an API group, which objects of it concern this operator, and where they live."""

    api_version: str
    kind: str
    plural: str
    selector: str = ""

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of an object, of its subresource, or of the collection if no name is given."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        space = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{space}/{'/'.join(part for part in (self.plural, name, subresource) if part)}"


_OURS: Final = f"{LABEL_MANAGED_BY}={MANAGER}"
RUNS: Final = Resource(API_VERSION, "AgentRun", "agentruns")
TOOLS: Final = Resource(API_VERSION, "Tool", "tools")
APPROVALS: Final = Resource(API_VERSION, "Approval", "approvals")
PODS: Final = Resource("v1", "Pod", "pods", LABEL_RUN_UID)
POLICIES: Final = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", _OURS)
REVISIONS: Final = Resource("apps/v1", "ControllerRevision", "controllerrevisions", _OURS)
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
CLAIMS: Final = Resource("v1", "ConfigMap", "configmaps", f"{_OURS},{LABEL_TASK}")
EVENTS: Final = Resource("v1", "Event", "events")
LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")
WATCHED: Final = (TOOLS, POLICIES, REVISIONS, PODS, APPROVALS, RUNS)
"""What is kept in the store; runs come last, so that all that belongs to one is known before it."""
_BY_KIND: Final = {it.kind: it for it in (*WATCHED, CONFIG_MAPS, EVENTS, LEASES)}


def resource_named(kind: str) -> Resource:
    """The resource of a kind."""
    return _BY_KIND[kind]


def resource_of(manifest: Body) -> Resource:
    """The resource that a manifest is an object of."""
    return resource_named(manifest["kind"])


class Cluster:
    """One API server. Every method raises ApiError for an answer that is not a success."""

    def __init__(self, api: client.ApiClient, streams: client.ApiClient) -> None:
        """`streams` carries logs, which may take for ever where a node hangs, and no connection that others need."""
        self._api, self._streams = api, streams
        self._host = api.configuration.host
        self._paging = asyncio.Lock()

    @classmethod
    async def connect(cls) -> Self:
        """The cluster of this pod's service account, or of KUBECONFIG outside a cluster."""
        configuration = client.Configuration()
        configuration.retries = None  # one retry layer: the queue
        configuration.connection_pool_maxsize = CONNECTIONS
        configuration.client_session_kwargs = {"trust_env": False}  # each request would read ~/.netrc, in a thread
        if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
        streaming = copy.copy(configuration)
        streaming.connection_pool_maxsize = 0  # no limit: whoever reads logs keeps one
        streaming.client_session_kwargs = configuration.client_session_kwargs | {"read_bufsize": LOG_BUFFER}
        return cls(client.ApiClient(configuration), client.ApiClient(streaming))

    async def close(self) -> None:
        """Ends every connection."""
        await self._api.close()
        await self._streams.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Body:
        """The object as the API server has it now."""
        return await self._call("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """The object as the API server has it now; None if there is none."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def pages(
        self, resource: Resource, namespace: str | None = None, *, accept: str = _JSON
    ) -> AsyncIterator[tuple[list[Body], int]]:
        """Page by page, all objects of a resource that concern this operator, and the version of the whole list.

        A page is empty once the next is asked for, and one is read at a time, whoever lists: pages are large.
        """
        limit, query = PAGE, {"labelSelector": resource.selector} if resource.selector else {}
        while True:
            async with self._paging:
                share, page = await self._page(resource.path(namespace), {**query, "limit": limit}, accept)
            if page is None:
                limit = max(limit // 4, 1)
                continue
            items, listed, page = page["items"] or [], page["metadata"], None  # a list of metadata alone may have null
            yield items, int(listed["resourceVersion"])
            if not listed.get("continue"):
                return
            items.clear()
            query["continue"] = listed["continue"]
            limit = min(limit * 2, LARGEST_PAGE) if share < 0.5 else limit

    async def _page(self, path: str, query: Body, accept: str) -> tuple[float, Body | None]:
        """An answer to a listing, and which share it is of what one may have; None if that is more, of several."""
        response = await self._request("GET", path, query=query, headers={"Accept": accept}, timeout=TIMEOUT)
        answer = bytearray()
        with _reached():
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > PAGE_BYTES and query["limit"] > 1:
                    response.close()
                    return 1.0, None
            share = max(len(answer) / PAGE_BYTES, values_in(answer) / PAGE_VALUES)
            return share, None if share > 1 and query["limit"] > 1 else json.loads(answer)

    async def create(self, manifest: Body, *, dry_run: bool = False) -> Body:
        """The object as it was created, or as it would have been."""
        query = {"dryRun": "All"} if dry_run else {}
        return await self._call("POST", resource_of(manifest).path(manifest["metadata"]["namespace"]), manifest, query)

    async def replace(self, manifest: Body) -> Body:
        """The object as it was replaced; 409 unless it is still in the version that the manifest names."""
        metadata = manifest["metadata"]
        return await self._call("PUT", resource_of(manifest).path(metadata["namespace"], metadata["name"]), manifest)

    async def put_status(self, resource: Resource, metadata: Metadata, status: Status) -> Body:
        """The object with a new status; 409 unless it is still the one, and the version, that the metadata names."""
        identity = {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        }
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": identity, "spec": {}}
        path = resource.path(metadata.namespace, metadata.name, "status")
        return await self._call("PUT", path, body | {"status": status.body()})

    async def patch(
        self, resource: Resource, namespace: str, name: str, operations: Patch, subresource: str = ""
    ) -> Body:
        """The object after a JSON patch, whose `test` operations are its conditions."""
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, operations, content_type=_JSON_PATCH)

    async def delete(self, resource: Resource, namespace: str, name: str, preconditions: Body) -> Body:
        """The object as it is after its deletion was asked for; 409 if the preconditions do not hold."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        return await self._call("DELETE", resource.path(namespace, name), body)

    async def delete_pods(self, namespace: str, run_uid: str) -> None:
        """Deletes all pods of a run in one call."""
        query = {"labelSelector": f"{LABEL_RUN_UID}={run_uid}"}
        await self._call("DELETE", PODS.path(namespace), {"propagationPolicy": "Background"}, query)

    @asynccontextmanager
    async def pod_log(self, namespace: str, name: str, container: str, *, follow: bool) -> AsyncIterator[Any]:
        """The log of a container as a stream of bytes; with `follow` it ends when the container does.

        Without, it is a TimeoutError if that has not come to its end within LOG_TIMEOUT.
        """
        query = {"container": container, "follow": str(follow).lower()}
        async with asyncio.timeout(None if follow else LOG_TIMEOUT):
            response = await self._request("GET", PODS.path(namespace, name, "log"), query=query, timeout=None)
            try:
                yield response.content
            finally:
                response.close()

    async def _call(
        self, method: str, path: str, body: Any = None, query: Body | None = None, *, content_type: str = _JSON
    ) -> Body:
        headers = {"Content-Type": content_type}
        response = await self._request(method, path, body, query, headers=headers, timeout=TIMEOUT)
        with _reached():
            return dict(json.loads(await response.read()))

    async def _request(
        self, method: str, path: str, body: Any = None, query: Any = None, *, headers: Any = None, timeout: float | None
    ) -> Any:
        headers = {"Accept": _JSON, "Content-Type": _JSON, "User-Agent": _USER_AGENT, **(headers or {})}
        url = f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")
        api = self._api if timeout else self._streams
        limits = aiohttp.ClientTimeout(total=timeout, connect=10)
        with _reached():
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = await api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limits)
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


async def _error(response: Any) -> ApiError:
    with _reached():
        text = await response.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = {}
    reason, message = status.get("reason") or response.reason, status.get("message") or text[:300]
    return ApiError(response.status, str(reason), str(message), retry_after(response))


def retry_after(response: Any) -> float:
    """Seconds for which an answer asks not to be asked again: of 429 and 503, and at most MAX_RETRY_AFTER."""
    said = response.headers.get("Retry-After", "")
    return min(float(said), MAX_RETRY_AFTER) if response.status in (429, 503) and said.isdecimal() else 0.0
