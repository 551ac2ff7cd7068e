"""What a refusal of the API server is about: the object, our rights, or a namespace that comes or goes."""

import pytest
from agentruns.cluster import ApiError

ENDS = 'approvals "a" is forbidden: unable to create new content in namespace shop because it is being terminated'


@pytest.mark.parametrize(
    ("status", "message", "not_about_the_object", "namespace_ends"),
    [
        (403, ENDS, True, True),
        (422, ENDS, False, False),
        (403, 'pods is forbidden: User "x" cannot create resource "pods"', True, False),
        (403, "ValidatingAdmissionPolicy 'decisions.agentrun.dev' denied request", False, False),
        (403, "exceeded quota: compute", False, False),
    ],
)
def test_what_a_refusal_is_about(status: int, message: str, not_about_the_object: bool, namespace_ends: bool) -> None:
    """A namespace that ends must not pass for one in which decisions can be forged."""
    error = ApiError(status, "Forbidden", message)
    assert (error.is_not_about_the_object, error.is_of_a_namespace_that_ends) == (not_about_the_object, namespace_ends)
