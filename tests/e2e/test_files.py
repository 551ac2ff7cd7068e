"""An argument too big for a pod's environment: its tool reads it all the same, and nothing put in its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.accounts import Body
from tests.commands import kubectl
from tests.space import Space, step, steps_of
from tests.waiting import until

WORDS = "Grüße, 世界 🚀 "
PRINTS = f"import json; print(json.dumps({{'text': {WORDS!r} * 24_000, 'n': 7}}))"
TEXT = WORDS * 24_000
HASHES = """
import hashlib, json, sys
args = json.load(sys.stdin)
text = args["in"][0]["document"]
print(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "length": len(text), "n": args["n"]}))
"""
ARGS = {"in": [{"document": "${steps.print.output.text}"}], "n": "${steps.print.output.n}"}


def reads(space: Space, run: str, **tool: Any) -> None:
    """Starts a run whose second step is given what the first has printed, if a person agrees."""
    space.tool("prints", PRINTS)
    space.tool("hashes", HASHES, effect="NonIdempotent", **tool)
    space.start(run, step("print", "prints"), step("hash", "hashes", args=ARGS))


def stored(space: Space, run: str) -> Body:
    """The ConfigMap with what the first step has printed."""
    return space.get("configmaps", steps_of(space.status(run))["print"]["outputRef"]["name"])


def swap(space: Space, config_map: Body) -> None:
    """Puts another ConfigMap in its place, as whoever holds `manage` on sandboxes can; others are refused."""
    name = config_map["metadata"]["name"]
    space.delete("configmaps", name)
    until(lambda: space.find("configmaps", name) is None, "the ConfigMap has gone")
    other = {"text": "Pay everything to mallory. " * 10_000, "n": 7}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    answer = space.admin.create(
        (space.name, "configmaps"), body | {"data": {"output.json": json.dumps(other)}}, store=True
    )
    assert answer.status == 201, answer.message


@contextmanager
def late_nodes(space: Space) -> Iterator[str]:
    """A label of nodes; pods of a runtime class of this name wait until a node has it."""
    name = f"late-{space.name}"
    scheduling = {"nodeSelector": {name: "yes"}}
    body = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"}
    kubectl("create", "--filename=-", stdin=json.dumps(body | {"scheduling": scheduling}))
    try:
        yield name
    finally:
        kubectl("label", "nodes", "--all", f"{name}-")
        kubectl("delete", "runtimeclass", name)


def test_a_big_argument_arrives_as_it_was_printed_and_as_it_was_approved(space: Space) -> None:
    reads(space, "big")
    question = space.question("big")
    request, config_map = question["spec"]["request"], stored(space, "big")
    content = config_map["data"]["output.json"].encode()
    assert len(content) > 500_000
    assert request["args"] == {"in": [{"document": None}], "n": 7}
    [file] = request["files"]
    assert (file["at"], file["pointer"], file["key"]) == ("/in/0/document", "/text", "output.json")
    assert (file["configMap"], file["bytes"]) == (config_map["metadata"]["name"], len(content))
    assert file["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    space.decided("big", "Approve")
    status = space.ended("big")
    assert status["phase"] == "Succeeded", status["message"]
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    assert steps_of(status)["hash"]["output"] == {"sha256": sha256, "length": len(TEXT), "n": 7}


def test_what_was_put_in_its_place_after_it_was_shown_begins_nothing(space: Space) -> None:
    reads(space, "swapped")
    question, config_map = space.question("swapped"), stored(space, "swapped")
    swap(space, config_map)
    assert space.decide(question, "Approve").status == 200
    status = space.ended("swapped")
    said = f"the output of step print is lost: ConfigMap {config_map['metadata']['name']} is not what was stored"
    assert (status["phase"], status["reason"]) == ("Failed", "StateLost")
    assert said in status["message"]
    assert space.pods("swapped", "hash") == []
    assert "effectState" not in steps_of(status)["hash"]


def test_what_was_put_in_its_place_after_its_pod_was_made_begins_nothing(space: Space) -> None:
    with late_nodes(space) as late:
        reads(space, "late", runtimeClassName=late)
        space.decided("late", "Approve")
        space.step_reached("late", "hash", "Prepared")
        until(lambda: not space.pods("late", "hash")[0]["spec"].get("schedulingGates"), "its pod waits for a node")
        config_map = stored(space, "late")
        swap(space, config_map)
        kubectl("label", "nodes", "--all", f"{late}=yes")
        status = space.ended("late")
    record = steps_of(status)["hash"]
    assert (record["state"], record["reason"], record["attempt"]) == ("Failed", "Permanent", 1)
    said = f"ConfigMap {config_map['metadata']['name']} is not what was stored: its digest differs; nothing was begun"
    assert said in record["message"]
    assert "effectState" not in record


@pytest.mark.parametrize("field", ["why", "args"])
def test_a_big_value_in_any_other_place_says_what_to_do(space: Space, field: str) -> None:
    space.tool("prints", PRINTS)
    space.tool("hashes", HASHES, effect="NonIdempotent")
    text = "see ${steps.print.output.text}"
    what: Body = {"why": text} if field == "why" else {"args": {"text": text}}
    space.start("other", step("print", "prints"), step("hash", "hashes", **what))
    status = space.ended("other")
    assert (status["phase"], status["reason"]) == ("Failed", "InvalidSpec")
    assert "has more than 65536 characters and values; pass less" in status["message"]
