"""Arguments that come as files: put in their places, or nothing is begun."""

import hashlib
import json
from typing import Any

import pytest

from .sandbox import Pod, pod

__all__ = ["pod"]

CONTENT = {"text": "Grüße \u202e" + "x" * 600_000, "list": [{"a/b~c": 7}, None], "z": 1, "a": {"z": 1, "a": 2}}


def described(pod: Pod, at: str = "/document", pointer: str = "/text", data: bytes | None = None) -> dict[str, Any]:
    """What the input says of a file, which is there."""
    data = json.dumps(CONTENT, ensure_ascii=False).encode() if data is None else data
    pod.file("lookup.json").write_bytes(data)
    return {
        "at": at,
        "path": str(pod.file("lookup.json")),
        "pointer": pointer,
        "configMap": "refund-4711-lookup-output-0a1b2c3d",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
    }


def given(args: Any, *files: Any) -> str:
    """AGENTRUN_INPUT with these arguments and files."""
    return json.dumps({"args": args, "files": files})


def test_a_program_reads_its_arguments_as_if_all_had_fitted(pod: Pod) -> None:
    files = (described(pod), described(pod, "/in/1", "/list/0/a~1b~0c"), described(pod, "/in/2", "/a"))
    args = {"document": None, "in": [None, None, None], "n": 1.5}
    begun = pod.sh("cat > read; echo null", AGENTRUN_INPUT=given(args, *files))
    assert begun.result == {"output": None}
    whole = {"document": CONTENT["text"], "in": [None, 7, {"a": 2, "z": 1}], "n": 1.5}
    assert pod.file("read").read_text() == json.dumps(whole)


def test_a_file_can_be_an_argument_as_a_whole(pod: Pod) -> None:
    result = pod.sh("wc -c", AGENTRUN_INPUT=given({"document": None}, described(pod, pointer="")))
    assert result.result == {"output": len(json.dumps({"document": CONTENT}))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pod: pod.file("lookup.json").write_text("{}"), "is not what was stored: its digest differs"),
        (lambda pod: pod.file("lookup.json").write_bytes(b"[" * 2**21), "is not what was stored: its digest differs"),
        (lambda pod: pod.file("lookup.json").unlink(), "lookup.json: No such file or directory"),
    ],
)
def test_nothing_is_begun_with_a_file_that_is_another(pod: Pod, change: Any, said: str) -> None:
    file = described(pod)
    change(pod)
    attempt = pod.sh("touch begun", AGENTRUN_INPUT=given({"document": None}, file))
    error = attempt.result["error"]
    assert (attempt.code, error["class"], pod.file("begun").exists()) == (65, "Permanent", False)
    assert "ConfigMap refund-4711-lookup-output-0a1b2c3d" in error["message"]
    assert said in error["message"]
    assert error["message"].endswith("; nothing was begun")


@pytest.mark.parametrize(
    ("args", "change"),
    [
        ({"document": None}, {"pointer": "/nothing"}),
        ({"document": None}, {"pointer": "/list/2"}),
        ({"document": None}, {"pointer": "/list/x"}),
        ({"document": None}, {"pointer": "/text/x"}),
        ({"document": None}, {"at": "/other"}),
        ({"document": None}, {"at": 7}),
        ({"document": None}, {"path": None}),
        ({"document": "there"}, {}),
        ({"document": {"at": "/document"}}, {}),
    ],
    ids=range(9),
)
def test_nothing_is_begun_with_files_that_do_not_fit(pod: Pod, args: Any, change: dict[str, Any]) -> None:
    file = described(pod) | change
    attempt = pod.sh("touch begun", AGENTRUN_INPUT=given(args, file))
    assert (attempt.code, pod.file("begun").exists()) == (64, False)
    said = "AGENTRUN_INPUT names files in a way that does not fit its arguments"
    assert attempt.result == {"error": {"class": "Permanent", "message": said}}


@pytest.mark.parametrize("files", [7, "x", [None], {"at": "/document"}])
def test_what_is_no_list_of_files_is_refused(pod: Pod, files: Any) -> None:
    attempt = pod.run("cat", AGENTRUN_INPUT=json.dumps({"args": {"document": None}, "files": files}))
    assert (attempt.code, attempt.result["error"]["class"]) == (64, "Permanent")


def test_what_comes_of_all_files_is_bounded(pod: Pod) -> None:
    files = [described(pod, f"/all/{number}") for number in range(15)]
    attempt = pod.sh("touch begun", AGENTRUN_INPUT=given({"all": [None] * 15}, *files))
    assert (attempt.code, pod.file("begun").exists()) == (64, False)


def test_files_as_big_as_they_may_be_take_little_memory(pod: Pod) -> None:
    pod.runner = ("sh", "-c", 'ulimit -v 131072; exec "$@"', "sh")  # KiB
    data = json.dumps(["é" * 10] * 90_000, ensure_ascii=False).encode()[: 2**20]
    data = data[: data.rindex(b",")] + b"]"
    files = [described(pod, f"/all/{number}", "", data) for number in range(3)]
    attempt = pod.sh("wc -c", AGENTRUN_INPUT=given({"all": [None] * 3}, *files))
    assert attempt.result == {"output": len(json.dumps({"all": [json.loads(data)] * 3}))}
