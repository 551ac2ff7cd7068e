"""What a refusal of the API server is about: the object, our rights, or a namespace that comes or goes."""

import pytest
from agentruns.cluster import ApiError
from agentruns.core.observed import Refusal
from agentruns.performing import refusal_of

ENDS = 'approvals "a" is forbidden: unable to create new content in namespace shop because it is being terminated'


@pytest.mark.parametrize(
    ("status", "message", "not_about_the_object", "namespace_ends"),
    [
        (403, ENDS, True, True),
        (422, ENDS, False, False),
        (403, 'pods is forbidden: User "x" cannot create resource "pods"', True, False),
        (403, 'configmaps "a" is forbidden: User "x" cannot update resource "configmaps"', True, False),
        (403, "ValidatingAdmissionPolicy 'decisions.agentrun.dev' denied request", False, False),
        (403, "exceeded quota: compute", False, False),
    ],
)
def test_what_a_refusal_is_about(status: int, message: str, not_about_the_object: bool, namespace_ends: bool) -> None:
    """A namespace that ends must not pass for one in which decisions can be forged."""
    error = ApiError(status, "Forbidden", message)
    assert (error.is_not_about_the_object, error.is_of_a_namespace_that_ends) == (not_about_the_object, namespace_ends)


@pytest.mark.parametrize("kind", ["Pod", "NetworkPolicy", "ControllerRevision", "ConfigMap", "Approval"])
@pytest.mark.parametrize(
    "limit",
    [
        "pods=1, used: pods=9, limited: pods=9",
        "limits.cpu=500m,limits.memory=128Mi, used: limits.cpu=1,limits.memory=1Gi, limited: limits.cpu=1",
        "count/controllerrevisions.apps=1, used: count/controllerrevisions.apps=3, limited: ...apps=3",
        "configmaps=1, used: configmaps=9, limited: configmaps=9",
        "count/approvals.agentrun.dev=1, used: count/approvals.agentrun.dev=2, limited: count/approvals.agentrun.dev=2",
    ],
)
def test_a_full_quota_is_waited_for_whatever_it_counts(kind: str, limit: str) -> None:
    said = f'pods "a" is forbidden: exceeded quota: tight, requested: {limit}'
    assert refusal_of(kind, ApiError(403, "Forbidden", said)) == Refusal(said, for_now=True, reason="QuotaExceeded")


@pytest.mark.parametrize(
    ("kind", "status", "message", "for_now"),
    [
        ("Pod", 403, ENDS, True),
        ("Pod", 403, 'pods "a" is forbidden: failed quota: tight: must specify limits.example.com/gpu', False),
        ("Pod", 422, 'Pod "a" is invalid', False),
        ("Approval", 422, 'Approval "a" is invalid', False),
        ("Approval", 403, "a webhook denied the request", None),
        ("Pod", 403, 'pods is forbidden: User "x" cannot create resource "pods"', None),
        ("Pod", 500, "etcdserver: request timed out", None),
    ],
)
def test_what_else_is_said_of_an_object_is_for_now_or_for_good_or_not_about_it(
    kind: str, status: int, message: str, for_now: bool | None
) -> None:
    found = refusal_of(kind, ApiError(status, "Forbidden", message))
    assert found == (None if for_now is None else Refusal(message, for_now=for_now))
