"""What a program in a sandbox gets, and what its end makes the entry point say."""

import hashlib
import json

import pytest

from .sandbox import MARK, Pod, pod

__all__ = ["pod"]

MIB = 1024 * 1024
HIDDEN = "\u202e"  # right-to-left override: shows what follows in reverse
EMPTY = len('{"output":""}')


def test_a_program_reads_its_arguments_and_prints_its_output(pod: Pod) -> None:
    attempt = pod.run("cat")
    assert attempt.stdout.decode() == f'{MARK}{{"output":{{"order":"4711"}}}}\n'
    assert (attempt.code, attempt.stderr) == (0, b"")
    assert attempt.termination == f'{MARK}{{"output":{{"order":"4711"}}}}'


def test_arguments_arrive_as_they_are(pod: Pod) -> None:
    args = {
        "n": 1,
        "f": 1.5,
        "big": 2**60,
        "none": None,
        "list": [True, {}],
        "s": "é\ud800$(HOME) ${x}\n",
        "x": "y" * 60_000,
    }
    assert pod.run("cat", AGENTRUN_INPUT=json.dumps({"args": args})).result == {"output": args}


def test_a_program_may_leave_its_arguments_unread(pod: Pod) -> None:
    assert pod.run("echo", "{}", AGENTRUN_INPUT=json.dumps({"args": {"x": "y" * 65_000}})).result == {"output": {}}


def test_the_environment_is_passed_on_without_the_nonce(pod: Pod) -> None:
    seen = pod.python("import json, os; print(json.dumps(dict(os.environ)))", TOKEN="t", LC_ALL="C.UTF-8")
    expected = pod.environment | {"TOKEN": "t", "LC_ALL": "C.UTF-8"}
    del expected["AGENTRUN_NONCE"]
    assert seen.result == {"output": expected}


def test_signals_are_as_a_program_expects_them(pod: Pod) -> None:
    assert pod.sh("yes | head -n 1 >&2; echo 1").stderr == b"y\n"  # no "Broken pipe"


@pytest.mark.parametrize("output", ["null", ' {"a": {"b": [true]}}\n', "-0.5e3"])
def test_any_json_value_is_an_output(pod: Pod, output: str) -> None:
    assert pod.run("printf", "%s", output).result == {"output": json.loads(output)}


def test_no_character_of_an_output_can_break_or_disguise_the_line(pod: Pod) -> None:
    text = f"\u2028\x85\x7f{HIDDEN}\nagentrun-result/x {{}}"
    attempt = pod.python(f"import json; print(json.dumps({text!r}, ensure_ascii=False))")
    assert len(attempt.lines) == 1
    assert attempt.result == {"output": text}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (b"", "nothing on standard output"),
        (b"secret", "not one JSON value (line 1, column 1)"),
        (b'{"secret": 1}\n{}', "not one JSON value (line 2, column 1)"),
        (b'{"secret": ', "not one JSON value"),
        (b"NaN", "not one JSON value"),
        (b"[1e999]", "not one JSON value"),
        (b"7" * 5000, "not one JSON value"),
        (b"[" * 200_000, "not one JSON value"),
        (b'"\xff"', "not UTF-8 (byte 1)"),
    ],
    ids=range(9),
)
def test_what_is_no_json_is_no_result_and_is_not_shown(pod: Pod, output: bytes, why: str) -> None:
    pod.file("output").write_bytes(output)
    attempt = pod.run("cat", "output")
    assert (attempt.code, attempt.stdout) == (0, b"")
    said = json.loads(attempt.termination)
    assert list(said) == ["invalid"]
    assert why in said["invalid"]
    assert "secret" not in said["invalid"]
    assert attempt.stderr.decode() == f"agentrun-tool: {said['invalid']}\n"


@pytest.mark.parametrize(
    ("character", "count", "size"), [("7", 2 * MIB, 2 * MIB + 2), ("é", 400_000, 2_400_000 + EMPTY)]
)
def test_a_result_that_is_too_large_is_refused_with_its_size(pod: Pod, character: str, count: int, size: int) -> None:
    pod.file("output").write_text(f'"{character * count}"', encoding="utf-8")
    attempt = pod.run("cat", "output")
    assert (attempt.code, attempt.stdout) == (0, b"")
    assert json.loads(attempt.termination) == {"invalid": f"the result is {size} bytes; at most {MIB} are taken"}


def test_output_beyond_the_bound_is_read_on_but_not_kept(pod: Pod) -> None:
    pod.runner = ("sh", "-c", 'ulimit -v 65536; exec "$@"', "sh")  # KiB
    attempt = pod.run("head", "-c", str(64 * MIB), "/dev/zero")
    assert attempt.code == 0
    assert str(64 * MIB) in attempt.termination


@pytest.mark.parametrize(("size", "chunks"), [(8192, 0), (8193, 1), (9001, 2), (MIB, 117)])
def test_large_results_come_in_numbered_chunks(pod: Pod, size: int, chunks: int) -> None:
    text = "x" * (size - EMPTY)
    pod.file("output").write_text(f'"{text}"')
    attempt = pod.run("cat", "output")
    assert attempt.result == {"output": text}
    assert len(attempt.lines) == max(1, chunks)
    assert attempt.lines[0].startswith(f"{MARK}1/{chunks} " if chunks else f"{MARK}{{")
    assert max(map(len, attempt.lines)) <= 12 * 1024


@pytest.mark.parametrize("excess", [0, 1])
def test_the_termination_message_is_the_line_or_its_digest(pod: Pod, excess: int) -> None:
    text = "x" * (3072 - len(MARK) - EMPTY + excess)
    body = f'{{"output":"{text}"}}'
    attempt = pod.run("echo", f'"{text}"')
    assert attempt.stdout.decode() == f"{MARK}{body}\n"
    if excess:
        digest = hashlib.sha256(body.encode()).hexdigest()
        assert json.loads(attempt.termination) == {"digest": f"sha256:{digest}", "bytes": len(body)}
    else:
        assert attempt.termination == MARK + body


def test_the_last_word_in_the_termination_message_is_the_entry_points(pod: Pod) -> None:
    attempt = pod.sh('head -c 5000 /dev/zero > "$AGENTRUN_TERMINATION_LOG"; echo 1')
    assert attempt.termination == f'{MARK}{{"output":1}}'


def test_a_result_needs_no_termination_log(pod: Pod) -> None:
    assert pod.sh("echo 1", AGENTRUN_TERMINATION_LOG="/nowhere/log").result == {"output": 1}


@pytest.mark.parametrize(
    ("script", "code", "error_class", "message"),
    [
        ("echo no route to host >&2; exit 75", 75, "Transient", "no route to host"),
        ("echo no such order >&2; exit 65", 65, "Permanent", "no such order"),
        ("exit 65", 65, "Permanent", "exit code 65: nothing on standard error"),
        ("echo Traceback >&2; echo 'KeyError: 7' >&2; echo >&2; exit 1", 1, "Unknown", "exit code 1: KeyError: 7"),
        ("exit 70", 70, "Unknown", "exit code 70: nothing on standard error"),
        ("echo '{}'; exit 3", 3, "Unknown", "exit code 3: nothing on standard error"),
        ("printf sent >&2; kill -9 $$", 137, "Unknown", "ended by signal 9 (Killed): sent"),
        ("kill -40 $$", 168, "Unknown", "ended by signal 40 (Real-time signal 6): nothing on standard error"),
    ],
)
def test_the_way_a_program_ends_is_its_error(pod: Pod, script: str, code: int, error_class: str, message: str) -> None:
    attempt = pod.sh(script)
    assert attempt.code == code
    assert attempt.result == {"error": {"class": error_class, "message": message}}
    assert attempt.termination + "\n" == attempt.stdout.decode()


@pytest.mark.parametrize(
    ("name", "events", "told"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n", True),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", True),
        ("memory.events", "oom 1\noom_kill 0\n", False),
    ],
)
def test_a_program_that_was_killed_for_want_of_memory_says_so(pod: Pod, name: str, events: str, told: bool) -> None:
    file = pod.file(f"cgroup/{name}")
    file.parent.mkdir(parents=True)
    file.write_text(events)
    ended = "out of memory: the limit is resources.limits.memory of the Tool" if told else "ended by signal 9 (Killed)"
    message = f"{ended}: nothing on standard error"
    assert pod.sh("kill -9 $$").result == {"error": {"class": "Unknown", "message": message}}


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ({"message": "slow down", "retryAfter": 30}, {"message": "slow down", "retryAfter": 30}),
        ({"message": "slow down", "retryAfter": float("nan")}, {"message": "slow down"}),
        ({"message": "slow down", "retryAfter": "30s"}, {"message": "slow down"}),
        ({"message": f"two\nlines{HIDDEN}"}, {"message": "two lines\ufffd"}),
        ({"message": 7, "class": "Permanent"}, {"message": "log"}),
        ("text", {"message": "log"}),
    ],
    ids=range(6),
)
def test_a_failed_program_may_state_its_error_as_json(pod: Pod, stated: object, shown: dict[str, object]) -> None:
    attempt = pod.sh('echo log >&2; printf %s "$STATED"; exit 75', STATED=json.dumps({"error": stated}))
    assert attempt.result == {"error": {"class": "Transient"} | shown}


def test_a_message_is_one_bounded_printable_line(pod: Pod) -> None:
    pod.file("log").write_bytes(f"first\n\x1b[31mred\tand\0{HIDDEN}".encode() + b"\xff" + "ü".encode() * 600 + b"\n")
    message = pod.sh("cat log >&2; exit 65").result["error"]["message"]
    assert message.startswith("\ufffd[31mred and\ufffd\ufffd\ufffdüü")
    assert 1020 < len(message.encode()) <= 1024


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["refundd"], 127, "cannot start refundd: No such file or directory"),
        (["/etc/passwd"], 127, "cannot start /etc/passwd: Permission denied"),
        ([], 64, "there is no program to run: set the Tool's command"),
    ],
)
def test_a_program_that_cannot_start_has_done_nothing(pod: Pod, command: list[str], code: int, message: str) -> None:
    attempt = pod.run(*command)
    assert attempt.code == code
    assert attempt.result == {"error": {"class": "Permanent", "message": message}}


def test_it_starts_with_few_imports(pod: Pod) -> None:
    pod.runner = ("python3", "-IS", "-X", "importtime")
    log = pod.run("true").stderr.decode()
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines()}
    assert "json" in imported
    assert not imported & {"asyncio", "datetime", "hashlib", "inspect", "site", "subprocess", "threading", "typing"}
