"""The entry point as the keeper of a program: its log, its signals, its leftovers, its one start."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .sandbox import MARK, Attempt, Pod, pod

__all__ = ["pod"]

PAST = "2026-01-02T03:04:05Z"
AS_PROCESS_1 = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def first_log_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 10)[0], "nothing was passed on while the program ran"
    return process.stderr.readline()


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_the_log_is_passed_on_while_the_program_runs(pod: Pod) -> None:
    process = pod.start("sh", "-c", "echo begun >&2; until [ -e go ]; do sleep 0.01; done; echo 1")
    assert first_log_line(process) == b"begun\n"
    pod.file("go").touch()
    assert pod.end(process).result == {"output": 1}


def test_the_log_may_be_large_and_binary(pod: Pod) -> None:
    log = bytes(range(256)) * 20_000 + b"\n"
    pod.file("log").write_bytes(log)
    attempt = pod.sh("cat log >&2; echo 1")
    assert attempt.stderr == log
    assert attempt.result == {"output": 1}


@pytest.mark.parametrize(
    "pieces",
    [
        [f"{MARK}{{}}\n"],
        ["agentrun-", "result/x {}\n"],
        [f"a\r{MARK}{{}}"],
        ["a" * 20_000, f"{MARK}{{}}\n"],
        ["a" * (12 * 1024 - 5), f"{MARK}{{}}\n"],
        [f"a\n{MARK}\n{MARK}\n" * 1000],
    ],
    ids=range(6),
)
def test_a_log_line_cannot_be_taken_for_a_result(pod: Pod, pieces: list[str]) -> None:
    attempt = pod.python(f"import os\nfor piece in {pieces!r}: os.write(2, piece.encode())\nprint(1)")
    log = attempt.stderr.decode()
    assert log.endswith("\n")
    assert not any(line.startswith("agentrun-result/") for line in log.splitlines())
    assert log.replace("> ", "").replace("\n", "") == "".join(pieces).replace("\n", "")


def test_log_lines_stay_under_the_length_at_which_runtimes_cut(pod: Pod) -> None:
    attempt = pod.python("import os; os.write(2, b'agentrun-result/' * 10_000); print(1)")
    lines = attempt.stderr.split(b"\n")
    assert max(map(len, lines)) < 16 * 1024
    assert b"".join(lines).replace(b"> ", b"").count(b"agentrun-result/") > 9_900  # a cut may go through one


def test_a_pod_runs_its_program_once(pod: Pod) -> None:
    assert pod.sh("touch ran; echo 1").result == {"output": 1}
    pod.file("ran").unlink()
    second: dict[str, str]
    for second in ({}, {"AGENTRUN_NOT_AFTER": PAST}, {"AGENTRUN_INPUT": ""}):  # none may say that nothing was done
        pod.termination_log.write_text("as it was")
        attempt = pod.sh("touch ran; echo 1", **second)
        assert attempt == Attempt(70, b"", b"agentrun-tool: refusing to run twice\n", "as it was")
    assert not pod.file("ran").exists()


@pytest.mark.parametrize(
    ("changes", "code", "error_class", "message"),
    [
        ({"AGENTRUN_NOT_AFTER": PAST}, 75, "Transient", f"too late to begin: it is after {PAST}"),
        ({"AGENTRUN_NOT_AFTER": "2026-01-02T03:04:05.678Z"}, 75, "Transient", "too late to begin"),
        ({"AGENTRUN_NOT_AFTER": "tomorrow"}, 64, "Permanent", "AGENTRUN_NOT_AFTER must be a time like"),
        ({"AGENTRUN_NOT_AFTER": None}, 64, "Permanent", "AGENTRUN_NOT_AFTER must be a time like"),
        ({"AGENTRUN_INPUT": None}, 64, "Permanent", "AGENTRUN_INPUT must be a JSON object with an object `args`"),
        ({"AGENTRUN_INPUT": "{"}, 64, "Permanent", "AGENTRUN_INPUT must be"),
        ({"AGENTRUN_INPUT": "7"}, 64, "Permanent", "AGENTRUN_INPUT must be"),
        ({"AGENTRUN_INPUT": '{"args": []}'}, 64, "Permanent", "AGENTRUN_INPUT must be"),
        ({"AGENTRUN_DIR": "/nowhere"}, 75, "Transient", "/nowhere must be a writable volume: No such file"),
    ],
    ids=range(9),
)
def test_refusals_say_why_and_begin_nothing(
    pod: Pod, changes: dict[str, str | None], code: int, error_class: str, message: str
) -> None:
    attempt = pod.sh("touch ran; echo 1", **changes)
    assert attempt.code == code
    error = attempt.result["error"]
    assert error["class"] == error_class
    assert error["message"].startswith(message)
    assert attempt.stderr.decode() == f"agentrun-tool: {error['message']}\n"
    assert not pod.file("ran").exists()


def test_without_a_nonce_there_is_no_result(pod: Pod) -> None:
    attempt = pod.sh("touch ran", AGENTRUN_NONCE=None)
    assert attempt == Attempt(64, b"", b"agentrun-tool: AGENTRUN_NONCE is missing\n", "")
    assert not pod.file("ran").exists()


def test_a_request_to_stop_may_be_answered_with_a_result(pod: Pod) -> None:
    inner = "trap 'echo 1; exit' TERM; echo begun >&2; while :; do sleep 0.01; done"
    process = pod.start("sh", "-c", f"trap : TERM; ({inner}) & wait; wait")  # the whole group must hear
    assert first_log_line(process) == b"begun\n"
    process.send_signal(signal.SIGTERM)
    attempt = pod.end(process)
    assert (attempt.code, attempt.result) == (0, {"output": 1})


def test_a_program_that_was_stopped_leaves_its_outcome_unknown(pod: Pod) -> None:
    process = pod.start("sh", "-c", "echo begun >&2; exec sleep 1000")
    assert first_log_line(process) == b"begun\n"
    process.send_signal(signal.SIGTERM)
    attempt = pod.end(process)
    assert attempt.code == 143
    assert attempt.result == {"error": {"class": "Unknown", "message": "ended by signal 15 (Terminated): begun"}}


def test_what_a_program_leaves_behind_is_ended_and_not_waited_for(pod: Pod) -> None:
    attempt = pod.sh("sleep 1000 & echo $!")  # holds standard output open
    until(lambda: not is_running(attempt.result["output"]))


def test_what_got_away_cannot_hold_up_the_result(pod: Pod) -> None:
    attempt = pod.sh("setsid sh -c 'echo $$ > away; exec yes' & until [ -s away ]; do :; done; exit 65")
    os.kill(int(pod.file("away").read_text()), signal.SIGKILL)
    assert attempt.result["error"]["class"] == "Permanent"


def test_a_program_may_close_its_output_and_work_on(pod: Pod) -> None:
    process = pod.start(
        "sh", "-c", "echo 1; exec >&- 2>&-; touch closed; until [ -e go ]; do sleep 0.01; done; touch done"
    )
    until(pod.file("closed").exists)
    pod.file("go").touch()
    assert pod.end(process).result == {"output": 1}
    assert pod.file("done").exists()


def test_as_process_1_it_ends_whatever_got_away(pod: Pod) -> None:
    pod.runner = AS_PROCESS_1
    process = pod.start(
        "sh", "-c", "setsid sh -c 'touch away; exec sleep 1000' & until [ -e away ]; do :; done; echo 1"
    )
    assert pod.end(process).result == {"output": 1}


def test_as_process_1_it_buries_orphans(pod: Pod) -> None:
    pod.runner = AS_PROCESS_1
    orphans = "for i in 1 2 3 4 5; do sh -c 'true & exec true'; done"
    buried = "while grep -qs 'State:.Z' /proc/[0-9]*/status; do :; done"
    assert pod.sh(f"{orphans}; {buried}; echo 1").result == {"output": 1}
