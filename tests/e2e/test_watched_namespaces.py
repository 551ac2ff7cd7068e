"""An operator with watchNamespaces works there, with no rights anywhere else."""

from __future__ import annotations

from tests import installed
from tests.shop import Shop, chart_changed
from tests.space import ECHO, Space, step


def test_runs_go_on_in_watched_namespaces_and_nowhere_else(shop: Shop, space: Space, shared_space: Space) -> None:
    for it in (space, shared_space):
        it.tool("echo", ECHO)
    with chart_changed(shop, watchNamespaces=[space.name]):
        shared_space.start("elsewhere", step("first", "echo"))
        space.start("asks", step("first", "echo", approval="Always"))
        space.decided("asks", "Approve")
        assert space.ended("asks")["phase"] == "Succeeded"
        assert installed.metric("agentruns_policy_enforced") == 1
        assert shared_space.status("elsewhere") == {"observedGeneration": 0, "phase": "Pending"}
    assert shared_space.ended("elsewhere")["phase"] == "Succeeded"
