"""The status stays under its limit whatever happens: runs that do the worst they can, and every status is measured."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from agentruns.core.digests import stored_length
from agentruns.core.journal import LEAST
from agentruns.core.naming import settle_call
from agentruns.core.observed import Refusal
from agentruns.core.outputs import INLINE
from agentruns.core.problems import MESSAGE_LENGTH, cut, printable
from agentruns.core.records import (
    FINAL_STATES,
    EffectState,
    OutputRef,
    Phase,
    RecordedDecision,
    RunStatus,
    Segment,
    StepState,
    StepStatus,
)
from agentruns.core.resources import ToolSpec
from agentruns.core.sizes import (
    BY_LENGTH,
    IMAGE_LENGTH,
    MAX_TOOLS,
    OUTPUT_LIMIT,
    REASON_LENGTH,
    SPARE,
    STATUS_LIMIT,
    reserved,
    room_in,
)
from agentruns.core.sizes import size as size_of

from tests.unit.builders import NOW, RUN_UID, a_run, a_tool
from tests.unit.play import Play

LONG = "n" * 253
WORDS = {"plain": "x", "quoted": '"', "wide": "🚀", "control": "\x01", "markup": "<&\u2028", "mixed": '\\é"界'}
IMAGE = "registry.example/" + "i" * 1007
DIGEST = f"sha256:{'d' * 64}"


def measured(run: Play) -> int:
    """The largest status that was recorded so far, in bytes; the records underway keep to what is reserved for them."""
    steps = {step.name: step for step in run.run.spec.steps}
    for status in run.recorded:
        records = {record.name: record for record in status.steps}
        for record in status.steps:
            if record.state not in FINAL_STATES and not record.is_settle_call:
                call = records.get(settle_call(record.name), StepStatus(name=""))
                pair = RunStatus(steps=(record, call.model_copy(update={"output": None})))
                length = stored_length(pair.body()["steps"]) - 100  # brackets, and a call that is not there
                assert length <= reserved(run.run, steps[record.name], run.tools), pair
    return max(stored_length(status.body()) for status in run.recorded)


def wide_run(count: int, effect: str, tools: int = MAX_TOOLS, **spec: Any) -> Play:
    """A run with the longest names there are, whose steps may all be underway at once."""
    kinds = [f"{n:02}{'t' * 251}" for n in range(tools)]
    steps = [
        {"name": f"s{n:03}".ljust(40, "_"), "tool": kinds[n % tools], "onFailure": "Continue"} for n in range(count)
    ]
    settle = {"settle": {"tool": "settles", "happened": "true"}} if effect == "Settled" else {}
    effect = "NonIdempotent" if settle else effect
    tool: ToolSpec = a_tool(effect=effect, image=IMAGE, retry={"attempts": 2}, **settle)
    run = a_run(*steps, metadata={"name": LONG}, **{"order": "Graph", "parallelism": 1000, **spec})
    return Play(run, {**dict.fromkeys(kinds, tool), "settles": a_tool(image=IMAGE)}).go()


def worst(place: int = 0) -> StepStatus:
    """The largest record that a step can leave, its output aside."""
    return StepStatus(
        name=f"s{place:03}".ljust(40, "_"),
        state=StepState.SUCCEEDED,
        effect_state=EffectState.MAY_BE_DONE,
        reason="VerificationFailed",
        message="m" * MESSAGE_LENGTH,
        attempt=99,
        epoch=99,
        asked_anew=99,
        idempotency_key="k" * 64,
        input_digest=DIGEST,
        pod=LONG,
        pod_uid=RUN_UID,
        image="i" * IMAGE_LENGTH,
        started_at=NOW,
        finished_at=NOW,
        output_ref=OutputRef(name=LONG, key="output.json", digest=DIGEST, bytes=2**20),
        approval=LONG,
        shown_digest=DIGEST,
        decision=RecordedDecision(
            verdict="Happened", by="b" * BY_LENGTH, at=NOW, reason="r" * REASON_LENGTH, digest=DIGEST
        ),
    )


def test_a_record_takes_no_more_than_is_counted_and_reserved_for_it() -> None:
    given = {name for name, field in StepStatus.model_fields.items() if getattr(worst(), name) != field.default}
    assert set(StepStatus.model_fields) - given == {"output", "next_attempt_at"}
    run = wide_run(1, "NonIdempotent")
    [step] = run.run.spec.steps
    waiting = worst().model_copy(update={"next_attempt_at": NOW})
    for record in (worst(), waiting, worst().model_copy(update={"output_ref": None, "output": "x" * 100})):
        size = stored_length(RunStatus(steps=(record,)).body()["steps"][0])
        assert size <= size_of(record) < size + 200
        assert size <= reserved(run.run, step, run.tools)


def a_segment() -> Segment:
    """The largest entry that the journal can have: no two of its steps stand beside each other."""
    places = ",".join(str(place) for place in range(901, 1000, 2))
    return Segment(name=f"{'n' * 40}-journal-{'0' * 16}", digest=DIGEST, steps=places, done=50)


def underway(run: Play, *states: StepState) -> list[str]:
    return [record.name for record in run.status.steps if record.state in states]


def all_end(run: Play, random: Random, words: str) -> None:
    """Every pod in flight ends in some way, with as many words as there can be."""
    for name in underway(run, StepState.PREPARED, StepState.RUNNING):
        run.starts(name)
        uid = run.step(name).pod_uid
        run.pods[uid] = replace(run.pods[uid], image=IMAGE[-IMAGE_LENGTH:])
        match random.randrange(5):
            case 0:
                run.ends(name, 3, reason=words, message=words * 5000)
            case 1:
                run.says(name, error_class="Transient", message=printable(words * 5000)).ends(name, 1)
            case 2:
                run.says(name, words * 20_000).ends(name)
            case _:
                run.says(name, "x" * (INLINE - 2)).ends(name)
    run.go(1)


def all_decided(run: Play, random: Random, words: str) -> None:
    """Everything that is asked is answered, with as many words as there can be."""
    for name in underway(run, StepState.AWAITING_APPROVAL, StepState.IN_DOUBT):
        doubt = run.step(name).state is StepState.IN_DOUBT
        verdict = random.choice(["Happened", "RunAgain", "Fail"] if doubt else ["Approve", "Approve", "Reject"])
        approval = run.approvals[run.step(name).approval]
        decision = {"verdict": verdict, "by": words * 1024, "reason": words * 1024}
        body = approval.model_dump(mode="json", by_alias=True)
        run.approvals[approval.metadata.name] = type(approval).model_validate(
            body | {"spec": body["spec"] | {"decision": decision}}
        )
        run.given[approval.metadata.name] = words * 3000
    run.go(1)


@pytest.mark.parametrize("effect", ["ReadOnly", "NonIdempotent", "Settled"])
@pytest.mark.parametrize("words", ['"', "🚀"])
def test_a_status_keeps_to_its_limit_whatever_its_steps_come_to(effect: str, words: str) -> None:
    random = Random(f"{effect} {words}")
    run = wide_run(120, effect, tools=MAX_TOOLS - 1, output={"x": "x" * (OUTPUT_LIMIT - 10)})
    for _ in range(200):
        if run.run.is_final:
            break
        all_end(run, random, words)
        all_decided(run, random, words)
        run.go(60)
    assert run.status.phase is Phase.SUCCEEDED, run.status.message
    assert run.status.progress == "120/120" or "failed" in run.status.message
    assert measured(run) <= STATUS_LIMIT
    assert all(segment.done <= 50 for segment in run.status.journal)


def test_a_thousand_steps_come_to_an_end_and_no_status_exceeds_its_limit() -> None:
    run = wide_run(1000, "ReadOnly", tools=1, output={"x": "x" * (OUTPUT_LIMIT - 10)})
    while not run.run.is_final:
        for name in underway(run, StepState.PREPARED):
            run.starts(name).says(name, "x" * (INLINE - 2)).ends(name)
        run.go(1)
    assert (run.status.phase, run.status.progress) == (Phase.SUCCEEDED, "1000/1000")
    assert measured(run) <= STATUS_LIMIT
    assert len(run.status.journal) <= 1000 // LEAST


def test_outputs_are_kept_elsewhere_where_the_steps_underway_need_the_room() -> None:
    run = wide_run(200, "ReadOnly")
    flying = underway(run, StepState.PREPARED)
    for name in flying:
        run.starts(name).says(name, name).ends(name)
    run.go(1)
    ended = next(status for status in run.recorded if status.steps and status.steps[0].state in FINAL_STATES)
    first, *_, last = (record for record in ended.steps if record.name in flying)
    assert (first.output, first.output_ref is not None) == (None, True)
    assert (last.output, last.output_ref) == (flying[-1], None), "what has ended takes less than was kept for it"


def test_more_tools_than_a_status_can_pin_are_refused_with_the_remedy() -> None:
    status = wide_run(MAX_TOOLS + 1, "ReadOnly", tools=MAX_TOOLS + 1).status
    assert (status.phase, status.reason) == (Phase.FAILED, "InvalidSpec")
    assert status.message == "steps: they call 51 different Tools; at most 50 are taken, split the run"


def test_a_run_whose_journal_is_refused_begins_nothing_that_its_status_has_no_room_for() -> None:
    run = wide_run(200, "ReadOnly")
    run.refused["ConfigMap"] = Refusal("exceeded quota", for_now=True)
    while flying := underway(run, StepState.PREPARED):
        for name in flying:
            run.starts(name).says(name, error_class="Permanent", message="x" * 1024).ends(name)
        run.go(1)
    assert (run.status.phase, run.status.reason, run.status.message) == ("Running", "CreationRefused", "exceeded quota")
    assert STATUS_LIMIT - OUTPUT_LIMIT - SPARE < measured(run) + 4096 <= STATUS_LIMIT - OUTPUT_LIMIT
    run.refused.clear()
    assert underway(run.go(10), StepState.PREPARED)


def test_a_step_finds_room_beside_as_many_records_as_are_too_few_for_the_journal() -> None:
    tool = a_tool(effect="NonIdempotent", image=IMAGE)
    run = wide_run(MAX_TOOLS, "NonIdempotent")
    few = tuple(worst(place) for place in range(LEAST - 1))
    asked = RunStatus(tools=run.status.tools, journal=(a_segment(),) * (1000 // LEAST), steps=few)
    tools = dict.fromkeys(run.tools, tool)
    assert room_in(run.run, asked, tools) >= reserved(run.run, run.run.spec.steps[0], tools)
    assert reserved(run.run, run.run.spec.steps[0], tools) <= SPARE


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("length", [1, 5, 64, 1024])
def test_a_text_is_cut_to_what_it_takes_in_json(words: str, length: int) -> None:
    text = cut(words * 1024, length)
    whole = words * 1024
    assert whole.startswith(text)
    assert stored_length(text) - 2 <= length
    assert text == whole or length < stored_length(whole[: len(text) + 1]) - 2
    assert stored_length(printable(whole, length)) - 2 <= length


def test_what_a_step_may_have_done_is_said_however_much_else_is() -> None:
    run = wide_run(1, "Idempotent")
    [name] = underway(run.decides(f"s000{'_' * 36}", "Approve"), StepState.PREPARED)
    for _ in range(2):
        run.starts(name).says(name, error_class="Unknown", message="🚀" * 1024).ends(name, 1).go().go(60)
    record = run.step(name)
    assert (record.reason, record.message[-31:]) == ("RetriesExhausted", "; the effect may have been done")


def test_a_short_text_is_not_cut() -> None:
    assert (cut("Grüße", 8), cut("plain", 5), cut("", 5)) == ("Grüße", "plain", "")
