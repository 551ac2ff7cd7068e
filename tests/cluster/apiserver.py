"""Questions to the local cluster's API server, as its administrator."""

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from tests.cluster import certificates
from tests.cluster.places import API_URL, NODE


def is_ready() -> bool:
    """Whether the API server says that it is ready."""
    return _answer("/readyz") is not None


def version() -> str:
    """The version that the API server says it is."""
    return str(json.loads(_answer("/version") or "{}").get("gitVersion", "unknown"))


def node_is_ready() -> bool:
    """Whether the node is there and Ready."""
    node: dict[str, Any] = json.loads(_answer(f"/api/v1/nodes/{NODE}") or "{}")
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def default_account_is_there() -> bool:
    """Whether pods can be made in the namespace `default`: the controllers have made its service account."""
    return _answer("/api/v1/namespaces/default/serviceaccounts/default") is not None


def _answer(path: str) -> bytes | None:
    """The body of a 200 answer; nothing for any other and while the server cannot be reached."""
    try:
        with _connection().open(API_URL + path, timeout=5) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError):
        return None


def _connection() -> urllib.request.OpenerDirector:
    """Straight to the server, with the administrator's certificate; never through the user's proxy."""
    context = ssl.create_default_context(cafile=str(certificates.CA))
    context.load_cert_chain(certificates.certificate("admin"), certificates.key("admin"))
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
