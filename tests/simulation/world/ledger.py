"""What tools really did, kept outside of the cluster: nothing of the operator's own records is believed here."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Effect:
    """Something that a tool did to the world, once."""

    key: str
    pod_uid: str
    run_uid: str
    step: str
    epoch: int


@dataclass
class Ledger:
    """All effects, in order, and what was printed by whom."""

    effects: list[Effect] = field(default_factory=list)
    printed: dict[str, str] = field(default_factory=dict)
    """The token of the output that a pod printed, by the pod's UID."""

    def has(self, key: str) -> bool:
        """Whether anything was ever done under a key: what a settle tool looks up."""
        return any(it.key == key for it in self.effects)
