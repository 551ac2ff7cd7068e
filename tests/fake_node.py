"""A node without a machine: its kubelet says at once that a pod runs, has printed its result, and has ended.

What is measured on it is the operator and the API server alone. The API server, the scheduler and the controllers are
the real ones; logs are asked of this kubelet by the API server, as of any.
"""

import asyncio
import json
import secrets
import ssl
import subprocess
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agentruns.cluster import PODS, ApiError, Body, Cluster, Resource
from aiohttp import web

from tests.watch import watch

TAINT: Final = "agentrun.dev/bench"
FOREVER: Final = "forever"
"""The argument of a container that prints nothing and does not end."""
_MERGE_PATCH: Final = "application/merge-patch+json"
_NODES: Final = Resource("v1", "Node", "nodes")
_LEASES: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")
_HEARTBEAT: Final = 10.0
_AT_ONCE: Final = 64


class FakeNode:
    """A Node and its kubelet, as long as the context is open; the context fails if the kubelet does."""

    def __init__(self, cluster: Cluster, *, pods: int = 20_000) -> None:
        self._cluster, self._pods = cluster, pods
        self.name = f"fake-{secrets.token_hex(3)}"
        self._known: dict[tuple[str, str], Body] = {}
        self.begun: set[str] = set()
        """The UIDs of the pods that it has run."""
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._group = asyncio.TaskGroup()

    @property
    def placement(self) -> Body:
        """What puts a sandbox on this node: the `sandbox` settings of an operator."""
        return {
            "nodeSelector": {TAINT: self.name},
            "tolerations": [{"operator": "Exists"}],
        }

    async def __aenter__(self) -> "FakeNode":
        self._runner, port = await self._log_server()
        await self._cluster._call("POST", "/api/v1/nodes", self._node())
        status = _node_status(self._pods, port)
        path = _NODES.path(None, self.name, "status")
        await self._cluster._call("PATCH", path, {"status": status}, content_type=_MERGE_PATCH)
        await self._group.__aenter__()
        self._forever = [self._group.create_task(self._beat()), self._group.create_task(self._work())]
        return self

    async def __aexit__(self, *error: Any) -> None:
        for task in self._forever:
            task.cancel()
        try:
            await self._group.__aexit__(*error)
        finally:
            await self._cluster._call("DELETE", _NODES.path(None, self.name))
            await self._runner.cleanup()

    def _node(self) -> Body:
        labels = {TAINT: self.name, "kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"}
        spec = {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}, "spec": spec}

    async def _beat(self) -> None:
        """Renews the node's lease, without which its pods would be evicted."""
        path = _LEASES.path("kube-node-lease", self.name)
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}}
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40}
        await self._cluster._call("POST", _LEASES.path("kube-node-lease"), lease | {"spec": spec | _renewed()})
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await self._cluster._call("PATCH", path, {"spec": _renewed()}, content_type=_MERGE_PATCH)

    async def _work(self) -> None:
        """Sees to every pod that the scheduler puts on this node."""
        version = ""
        async for _, version_ in self._cluster.pages(PODS):
            version = str(version_)
        query = {"fieldSelector": f"spec.nodeName={self.name}"}
        async for pod in watch(self._cluster, PODS, None, version, query):
            uid = pod["metadata"]["uid"]
            self._known[pod["metadata"]["namespace"], pod["metadata"]["name"]] = pod
            if "deletionTimestamp" in pod["metadata"]:
                self._group.create_task(self._removed(pod))
            elif uid not in self.begun:
                self.begun.add(uid)
                self._group.create_task(self._run(pod))

    async def _run(self, pod: Body) -> None:
        """Says that the pod runs, and then, if it is not one for ever, that it has ended well."""
        with suppress(ApiError):  # it may have been deleted meanwhile
            await self._say(pod, "Running", {"running": {"startedAt": _now()}})
            if not _is_endless(pod):
                ended = {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}
                await self._say(pod, "Succeeded", {"terminated": ended | {"containerID": "fake://1"}})

    async def _say(self, pod: Body, phase: str, state: Body) -> None:
        container = pod["spec"]["containers"][0]
        told = {"name": container["name"], "image": container["image"], "imageID": container["image"], "state": state}
        told |= {"ready": False, "restartCount": 0, "containerID": "fake://1"}
        status = {"phase": phase, "startTime": _now(), "containerStatuses": [told]}
        path = PODS.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "status")
        async with self._gate:
            await self._cluster._call("PATCH", path, {"status": status}, content_type=_MERGE_PATCH)

    async def _removed(self, pod: Body) -> None:
        """Lets a pod go that is being deleted: nothing of it runs."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        body["preconditions"] = {"uid": pod["metadata"]["uid"]}
        path = PODS.path(pod["metadata"]["namespace"], pod["metadata"]["name"])
        async with self._gate:
            with suppress(ApiError):
                await self._cluster._call("DELETE", path, body)

    async def _log_server(self) -> tuple[web.AppRunner, int]:
        application = web.Application()
        application.add_routes([web.get("/containerLogs/{namespace}/{pod}/{container}", self._log)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_server_identity())
        await site.start()
        return runner, int(runner.addresses[0][1])

    async def _log(self, request: web.Request) -> web.StreamResponse:
        """The log of a container, as the API server asks a kubelet for it."""
        pod = self._known[request.match_info["namespace"], request.match_info["pod"]]
        answer = web.StreamResponse()
        with suppress(ConnectionError):  # whoever follows the log may go at any time
            await answer.prepare(request)
            if _is_endless(pod):
                await asyncio.Event().wait()
            line = f"agentrun-result/{pod['metadata']['uid']} {json.dumps({'output': 1})}\n"
            await answer.write(line.encode())
        return answer


def _is_endless(pod: Body) -> bool:
    return FOREVER in (pod["spec"]["containers"][0].get("args") or [])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _renewed() -> Body:
    return {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


def _node_status(pods: int, port: int) -> Body:
    room = {"cpu": "100000", "memory": "100000Gi", "ephemeral-storage": "100000Gi", "pods": str(pods)}
    ready = {"type": "Ready", "status": "True", "reason": "Fake", "message": "", "lastTransitionTime": _now()}
    return {
        "capacity": room,
        "allocatable": room,
        "conditions": [ready | {"lastHeartbeatTime": _now()}],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }


def _server_identity() -> ssl.SSLContext:
    """A certificate of this process's own; the API server asks kubelets for none that it knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as place:
        key, certificate = Path(place, "key"), Path(place, "certificate")
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=fake", "-days", "1"]
        subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context.load_cert_chain(certificate, key)
    return context
