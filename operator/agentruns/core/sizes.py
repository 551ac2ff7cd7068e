"""How much the status of one run may hold, and what each part of it takes. All in bytes of the cluster's store."""

from collections.abc import Mapping
from typing import Final

from agentruns.core.digests import stored_length
from agentruns.core.naming import settle_call
from agentruns.core.problems import MESSAGE_LENGTH, is_plain
from agentruns.core.records import FINAL_STATES, RunStatus, StepStatus
from agentruns.core.resources import AgentRun, Effect, Step, ToolSpec

STATUS_LIMIT: Final = 262_144
"""What no status exceeds: a fraction of what the API server stores, since every change of a run writes it anew."""
OUTPUT_LIMIT: Final = 65_536
"""What `status.output` may take, and so what a claim keeps of it."""
ROOM: Final = STATUS_LIMIT - OUTPUT_LIMIT - 4096
"""What all but the run's output may take."""
SPARE: Final = 16_384
"""What outputs of steps leave to records, so that a step can always begin."""
MAX_TOOLS: Final = 50
"""Different Tools of one run: each is pinned in the status."""
BY_LENGTH: Final = 512
"""Of who decided on a step, by which a record says it."""
REASON_LENGTH: Final = 1024
"""Of why they did."""
IMAGE_LENGTH: Final = 512
"""Of the image that ran; its end is kept, where the digest is."""
_SAID: Final = 24_576
"""What the run's own message takes, which its conditions repeat, what it waits for, and a decision about all of it."""
_RECORD: Final = 500
"""What a record takes beside texts and names: keys, times, digests, numbers."""
_WAIT: Final = 50
"""And with the time of a next attempt."""
_REFERENCE: Final = 160
"""And with the place where its output is stored."""
_DECISION: Final = 290
"""And with a question, and what was decided."""
_NAME: Final = 253
_ENDING: Final = 24
"""What names of a step's objects have beside the names of run and step."""


def room_in(run: AgentRun, status: RunStatus, tools: Mapping[str, ToolSpec]) -> int:
    """What is left in a status beside all that is there, and all that the steps underway may add to it."""
    steps = {step.name: step for step in run.spec.steps}
    listed = RunStatus(tools=status.tools, journal=status.journal).model_dump_json(by_alias=True)
    records = {record.name: record for record in status.steps}
    mine = (steps[name] for name in records if name in steps)
    return ROOM - _SAID - len(listed) - sum(held(run, step, tools, records) for step in mine)


def held(run: AgentRun, step: Step, tools: Mapping[str, ToolSpec], records: Mapping[str, StepStatus]) -> int:
    """What the records of a step, and of the call that settles its doubt, take or are to find room for."""
    record, call = records.get(step.name), records.get(settle_call(step.name))
    if record is None:
        return 0
    if record.state not in FINAL_STATES:
        return reserved(run, step, tools) + (0 if call is None or call.output is None else stored_length(call.output))
    if call is None:
        return size(record)
    return size(record) + (size(call) if call.state in FINAL_STATES else _plain(run, call.name))


def size(record: StepStatus) -> int:
    """The most that a record takes as it is now."""
    texts = [record.name, record.pod, record.image, record.message, record.approval]
    texts += [record.decision.by, record.decision.reason] if record.decision else []
    length = _RECORD + sum(map(_length, texts)) + (_DECISION if record.approval else 0)
    length += _REFERENCE + _length(record.output_ref.name) if record.output_ref else 0
    return length + (0 if record.output is None else stored_length(record.output))


def _length(text: str) -> int:
    return len(text) if is_plain(text) else stored_length(text)


def reserved(run: AgentRun, step: Step, tools: Mapping[str, ToolSpec]) -> int:
    """The most that the records of this step and of the call that settles its doubt can take, outputs aside."""
    tool, length = tools[step.tool], _plain(run, step.name)
    if step.approval == "Always" or tool.asks != "Never" or tool.effect is Effect.NON_IDEMPOTENT:
        length += _DECISION + _name(run, step.name) + BY_LENGTH + REASON_LENGTH
    return length + (_plain(run, settle_call(step.name)) if tool.settle else 0)


def _plain(run: AgentRun, record: str) -> int:
    """The most that a record of this name can take about which nobody is asked."""
    return _RECORD + _WAIT + _REFERENCE + len(record) + 2 * _name(run, record) + IMAGE_LENGTH + MESSAGE_LENGTH


def _name(run: AgentRun, record: str) -> int:
    return min(len(run.metadata.name) + len(record) + _ENDING, _NAME)
