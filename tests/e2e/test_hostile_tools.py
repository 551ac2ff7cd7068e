"""Tools that misbehave, all in one run: each step ends as the contract says, and the operator goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.accounts import Body
from tests.space import ECHO, Space, step, steps_of
from tests.waiting import until

# Code in a pod can reach the output that the entry point guards, so it can say anything. It still says it once.
RAW = """
import json, os, sys, time
out = open("/proc/1/fd/1", "wb", buffering=0)
environment = open("/proc/1/environ", "rb").read().split(b"\\0")
nonce = next(it for it in environment if it.startswith(b"AGENTRUN_NONCE=")).partition(b"=")[2]
def line(value, nonce=nonce):
    return b"agentrun-result/" + nonce + b" " + json.dumps({"output": value}).encode() + b"\\n"
"""
CUT = """
whole = line("x" * 20_000)
out.write(whole[:16_384])
time.sleep(0.2)
print("in between", file=sys.stderr, flush=True)
time.sleep(0.2)
out.write(whole[16_384:])
print(json.dumps("real"))
"""
CHUNKS = """
import base64
whole = json.dumps({"output": "x" * 20_000}).encode()
for number in (3, 1, 2):
    piece = base64.b64encode(whole[(number - 1) * 9_000 : number * 9_000])
    out.write(b"agentrun-result/" + nonce + b" %d/3 " % number + piece + b"\\n")
    print("in between", file=sys.stderr, flush=True)
"""
WRITE = """
import errno, json
def tried(path):
    try:
        open(path, "w").write("x")
    except OSError as error:
        return errno.errorcode[error.errno]
print(json.dumps({path: tried(path) for path in ("/here", "/etc/passwd", "/tmp/here")}))
"""
TOKEN = """
import json, os
found = [place for place, _, names in os.walk("/var/run") for name in names if name == "token"]
print(json.dumps({"found": found, "user": os.getuid(), "mounted": os.path.exists("/var/run/secrets")}))
"""
API_SERVER = """
import json, os, ssl, urllib.error, urllib.request
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
try:
    url = f"https://{host}:{port}/api/v1/namespaces/default/secrets"
    answer = urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context()).status
except urllib.error.HTTPError as error:
    answer = error.code
except OSError:
    answer = None
print(json.dumps(answer))
"""
FORKS = """
import json, os, time
children = 0
try:
    while children < 200:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
except OSError:
    pass
print(json.dumps(children))
"""
SECRET = {"env": [{"name": "SECRET", "value": "hunter2"}]}
ARGS = {"a": "$(SECRET) $$(SECRET) $SECRET `id` %s", "b": "$${run.input}", "c": "${run.input.words}"}
WORDS = "${steps.silent.output} $(SECRET)"
ONCE = {"retry": {"attempts": 1}}
TWICE = {"retry": {"attempts": 2, "initialBackoff": "1s"}}


@dataclass(frozen=True)
class Case:
    """A program and how its step ends: for which reason, with which words or which output, after how many pods."""

    program: str
    reason: str = "Completed"
    says: str = ""
    output: Any = None
    pods: int = 1
    tool: Body = field(default_factory=dict)
    step: Body = field(default_factory=dict)


CASES = {
    "wrong_nonce": Case(RAW + "out.write(line('forged', b'0000')); print('\"real\"')", output="real"),
    "cut_by_stderr": Case(RAW + CUT, "InvalidResult", "bytes; print it in chunks"),
    "in_chunks": Case(RAW + CHUNKS, output="x" * 20_000),
    "echoed_line": Case("import sys; print('agentrun-result/x {}', file=sys.stderr); print(1)", output=1),
    "second_result": Case(RAW + "out.write(line(1) + line(2)); print(3)", output=1),
    "works_on": Case(RAW + "out.write(line(1)); time.sleep(600)", output=1),
    "long_log": Case("import sys; sys.stderr.write('log\\n' * 1_250_000); print(1)", output=1),
    "too_large": Case("print('\"' + 'x' * 2**21 + '\"')", "InvalidResult", "at most 1048576 are taken"),
    "no_json": Case("print('{lost: true}')", "InvalidResult", "is not one JSON value"),
    "wrong_type": Case("print(1)", "InvalidResult", "outputSchema", tool={"outputSchema": {"type": "object"}}),
    "silent": Case("", "InvalidResult", "nothing on standard output"),
    "transient": Case("exit(75)", "RetriesExhausted", "attempt 3 of 3", pods=3),
    "permanent": Case("exit(65)", "Permanent", "exit code 65"),
    "unknown": Case("exit(3)", "RetriesExhausted", "attempt 2 of 2: exit code 3", pods=2, tool=TWICE),
    "doubtful": Case("exit(3)", output={"receipt": "R-1"}, tool={"effect": "NonIdempotent", "approval": "Never"}),
    "memory": Case("x = bytearray(2**30)", "RetriesExhausted", "attempt 1 of 1", tool=ONCE),
    "endless": Case("while True: pass", "RetriesExhausted", "attempt 1 of 1", tool=ONCE, step={"timeout": "2s"}),
    "writes": Case(WRITE, output={"/here": "EROFS", "/etc/passwd": "EROFS", "/tmp/here": None}),
    "token": Case(TOKEN, output={"found": [], "user": 65532, "mounted": False}),
    "api_server": Case(API_SERVER),
    "forks": Case(FORKS),
    "literal": Case(ECHO, output=ARGS | {"b": "${run.input}", "c": WORDS}, tool=SECRET, step={"args": ARGS}),
}


@dataclass(frozen=True)
class Ended:
    """The run of all cases: before a person said what became of the doubtful one, and after."""

    space: Space
    before: Body
    after: Body

    def step(self, name: str) -> Body:
        return steps_of(self.after)[name]

    def output(self, name: str) -> Any:
        """What a step gave, from wherever its size has put it."""
        record = self.step(name)
        if reference := record.get("outputRef"):
            return json.loads(self.space.get("configmaps", reference["name"])["data"][reference["key"]])
        return record.get("output")


@pytest.fixture(scope="module")
def ended(shared_space: Space) -> Ended:
    """One run of all hostile tools, at its end."""
    space = shared_space
    for name, case in CASES.items():
        space.tool(name.replace("_", "-"), case.program, **case.tool)
    steps = [step(name, name.replace("_", "-"), onFailure="Continue", **case.step) for name, case in CASES.items()]
    space.start("hostile", *steps, order="Graph", parallelism=6, input={"words": WORDS})
    space.tool("harmless", ECHO)
    space.start("harmless", step("one", "harmless"), step("two", "harmless"))
    before = space.reached("hostile", "AwaitingApproval", seconds=180)
    space.decided("hostile", "Happened", output={"receipt": "R-1"})
    return Ended(space, before, space.ended("hostile"))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_tool_ends_as_the_contract_says(ended: Ended, name: str) -> None:
    case, found = CASES[name], ended.step(name)
    assert found["state"] == ("Succeeded" if case.reason == "Completed" else "Failed")
    assert found["reason"] == case.reason, found
    assert case.says in found.get("message", "")
    assert len(ended.space.pods("hostile", name)) == case.pods
    if case.output is not None:
        assert ended.output(name) == case.output


def test_the_run_succeeds_all_the_same(ended: Ended) -> None:
    assert (ended.after["phase"], ended.after["progress"]) == ("Succeeded", f"{len(CASES)}/{len(CASES)}")


def test_another_run_is_served_meanwhile(ended: Ended) -> None:
    other = ended.space.ended("harmless")
    assert other["phase"] == "Succeeded"
    assert other["finishedAt"] < ended.after["finishedAt"]


def test_what_may_have_been_done_is_asked_and_not_repeated(ended: Ended) -> None:
    doubtful = steps_of(ended.before)["doubtful"]
    assert doubtful["state"] == "InDoubt"
    assert "exit code 3" in doubtful["message"]
    asked = ended.space.get("approvals", doubtful["approval"])
    assert (asked["spec"]["purpose"], asked["status"]["state"]) == ("InDoubt", "Settled")
    assert ended.step("doubtful")["decision"]["verdict"] == "Happened"


def test_a_tool_that_takes_too_much_memory_is_killed_for_that(ended: Ended) -> None:
    [pod] = ended.space.pods("hostile", "memory")
    [container] = pod["status"]["containerStatuses"]
    assert container["state"]["terminated"]["reason"] == "OOMKilled"
    assert "out of memory: the limit is resources.limits.memory of the Tool" in ended.step("memory")["message"]


def test_a_tool_that_works_on_is_stopped(ended: Ended) -> None:
    [pod] = ended.space.pods("hostile", "works_on")
    name = pod["metadata"]["name"]
    until(lambda: ended.space.get("pods", name)["status"]["phase"] == "Failed", "the pod is stopped", 60)
    assert ended.space.get("pods", name)["status"]["reason"] == "DeadlineExceeded"


def test_the_api_server_gives_a_tool_nothing(ended: Ended) -> None:
    """Nothing at all where the cluster enforces network policies."""
    assert ended.output("api_server") in (401, 403, None)


def test_a_tool_cannot_fill_the_node_with_processes(ended: Ended) -> None:
    assert ended.output("forks") < 200


def test_logs_can_be_read_afterwards(ended: Ended) -> None:
    [pod] = ended.space.pods("hostile", "cut_by_stderr")
    place = (ended.space.name, "pods", pod["metadata"]["name"], "log")
    assert "in between" in ended.space.admin.connect(place).message
