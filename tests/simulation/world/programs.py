"""What the programs of tools do, drawn anew for every start of a container."""

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Final


@dataclass(frozen=True)
class Program:
    """One execution: when it has its effect, what it says, and how it ends."""

    before: float
    after: float
    lingers: float
    effect: bool
    says: str
    """The result line's JSON; empty if it prints none."""
    code: int
    message: bool
    """Whether the termination message carries the line, too."""
    hangs: bool = False

    @property
    def good(self) -> str:
        """The token of a good result, if it says one."""
        return str(json.loads(self.says)["output"]["token"]) if "output" in (json.loads(self.says or "{}")) else ""


_ENDINGS: Final = (
    # effect, class of error, exit code, hangs
    (False, "Transient", 75, False),
    (False, "", 75, False),
    (False, "Permanent", 65, False),
    (False, "", 65, False),
    (True, "Unknown", 1, False),
    (False, "Unknown", 1, False),
    (True, "", 1, False),
    (True, "", 0, False),
    (True, "", 137, True),
    (False, "", 137, True),
)


def program(random: Random, reliable: float, token: str) -> Program:
    """What one start of a container does."""
    before, after = random.expovariate(2.0), random.expovariate(2.0)
    lingers = random.choice((0.0, 0.0, 0.1, 20.0))
    message = random.random() < 0.7
    if random.random() < reliable:
        says = json.dumps({"output": {"token": token}})
        return Program(before, after, lingers, True, says, 0, message)
    effect, error, code, hangs = random.choice(_ENDINGS)
    says = json.dumps({"error": {"class": error, "message": "it says so"}}) if error else ""
    return Program(before, after, lingers, effect, says, code, message, hangs)


def finding(random: Random, reliable: float, token: str, found: bool) -> Program:
    """What a settle tool does: it tells the truth, as it was when it began, or nothing that says anything."""
    usual = replace(program(random, reliable, token), effect=False)
    if not usual.good:
        return usual
    answer = {"found": found} if random.random() < reliable else random.choice(({}, {"found": "perhaps"}))
    return replace(usual, says=json.dumps({"output": {"token": token, **answer}}))


def late() -> Program:
    """What the entry point does after AGENTRUN_NOT_AFTER."""
    says = json.dumps({"error": {"class": "Transient", "message": "too late to begin"}})
    return Program(0.0, 0.0, 0.0, False, says, 75, True)


def second() -> Program:
    """What the entry point does when it finds its own marker."""
    return Program(0.0, 0.0, 0.0, False, "", 70, False)
