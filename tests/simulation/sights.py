"""How pods look on their way, and from what to what they go: of the cluster and the simulation in the same words."""

from typing import Final

from agentruns.cluster import Body
from agentruns.core.observed import ContainerEnd
from agentruns.core.pod_status import pod_seen

from tests.simulation.world.api import Change

GONE: Final = "gone"
Step = tuple[str, str]
"""How a pod looked, and how it looked next."""
_TOLD: Final = ("", "Evicted", "DeadlineExceeded", "Unschedulable")


def sight(pod: Body) -> str:
    """A pod in the words of decisions; why a container waits is not among them, since the simulation does not say."""
    seen = pod_seen(pod)
    words = [seen.phase or "Pending", "gated" if seen.gated else "bound" if seen.node else "unbound"]
    words.append(seen.reason if seen.reason in _TOLD else "Refused")
    words.append("begun" if seen.started_at else "")
    words.append(_end(seen.end))
    words += [word for word in ("restarted", "disrupted", "deleting") if getattr(seen, word)]
    return " ".join(filter(None, words))


def _end(end: ContainerEnd | None) -> str:
    if end is None:
        return ""
    return "lost" if not end.known else "ended well" if end.exit_code == 0 else "ended ill"


class Sights:
    """Gathers how pods go on, from every change of the simulated API server."""

    def __init__(self) -> None:
        self.steps: set[Step] = set()

    def changed(self, change: Change) -> None:
        """An object has changed."""
        if change.plural == "pods" and change.before is not None:
            before, after = sight(change.before), sight(change.after) if change.after is not None else GONE
            self.steps |= {(before, after)} if before != after else set()
