"""What the real world does to an operator, each with how likely it is wherever it may happen.

A seed has some of them and not others, so that each is met alone and with every other.
"""

from collections import Counter
from random import Random
from typing import Final

LIKELIHOOD: Final = {
    # the operator's process
    "crash": 0.04,
    "freeze": 0.01,
    "two operators": 1.0,
    # the way to the API server, and back
    "request lost": 0.03,
    "applied but timed out": 0.03,
    "server error": 0.03,
    "slow requests": 0.1,
    "watch gap": 0.01,
    "slow watch": 0.05,
    "log stream broken": 0.3,
    # nodes and their kubelets
    "unschedulable": 0.1,
    "late kubelet": 0.15,
    "started after its time": 0.05,
    "late status": 0.15,
    "container started twice": 0.1,
    "log lost": 0.15,
    "slow program": 0.05,
    "refused by a new kubelet": 0.05,
    "evicted before start": 0.08,
    "evicted after start": 0.08,
    "node lost": 0.08,
    "kubelet cut off": 0.08,
    # people
    "pod deleted": 0.1,
    "pod torn out": 0.1,
    "approval deleted": 0.2,
    "late decision": 0.2,
    "run cancelled": 0.3,
    "run paused": 0.3,
    "run deleted": 0.2,
}
NEWER: Final = {
    "tool edited": 0.3,
    "slow image pull": 0.08,
    "result without an end": 0.1,
    "node never heard of again": 0.05,
    # a GitOps controller
    "run made again": 1.0,
    # what was seen of real nodes, and of pods on them
    "end before last phase": 0.9,
    "last phase before end": 0.7,
    "refused by its node": 0.05,
    "pod drained": 0.1,
    "pod deleted late": 0.1,
}
"""Those that came later, drawn apart: a seed that has none of them goes as it went before."""

ALL: Final = {**LIKELIHOOD, **NEWER}
_OFTEN: Final = 5
_HARSH: Final = 6


def harsh_ones(seed: int) -> frozenset[str]:
    """The habits that a seed has for certain, and often, where its world is to be a harsh one."""
    return frozenset(Random(f"{seed} harsh").sample(sorted(ALL), _HARSH))


class Habits:
    """Which habits a seed has, and how often each was met."""

    def __init__(self, random: Random, names: frozenset[str], often: frozenset[str]) -> None:
        self._random, self.names, self._often = random, names, often
        self.met: Counter[str] = Counter()
        self.at_work = True

    @classmethod
    def drawn(cls, random: Random, often: frozenset[str], apart: Random) -> "Habits":
        """The habits of a seed: few or many of them, and those that it is told to have, and often."""
        share = random.choice((0.1, 0.2, 0.4))
        names = often.union(name for name in LIKELIHOOD if random.random() < share)
        return cls(random, names.union(name for name in NEWER if apart.random() < share), often)

    def strikes(self, name: str) -> bool:
        """Whether it happens now; never once the world has come to rest."""
        likelihood = ALL[name] * (_OFTEN if name in self._often else 1)
        if not self.at_work or name not in self.names or self._random.random() >= likelihood:
            return False
        self.met[name] += 1
        return True
