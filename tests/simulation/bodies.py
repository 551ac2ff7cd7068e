"""What people have asked for, and what the promises read of objects as they are stored."""

from agentruns.cluster import Body
from agentruns.core.naming import FINALIZER_RESULT, LABEL_RUN_UID, LABEL_STEP, doubted_step, is_settle_call


class Wanted:
    """The runs that people have made, and the Tools as these were at first: nobody changes what is read here."""

    def __init__(self) -> None:
        self._steps: dict[str, list[Body]] = {}
        self._tools: dict[tuple[str, str], Body] = {}

    def add(self, made: Body) -> None:
        """Takes down what was made, if it is a run or a Tool."""
        metadata = made["metadata"]
        if made["kind"] == "AgentRun":
            self._steps[metadata["uid"]] = made["spec"]["steps"]
        elif made["kind"] == "Tool":
            self._tools[metadata["namespace"], metadata["name"]] = made["spec"]

    def tool_name(self, pod: Body) -> str:
        """The name of the Tool that a pod is of."""
        (run_uid, step), space = place_of(pod), pod["metadata"]["namespace"]
        name = self._tool_of(run_uid, step)
        return str(self._tools[space, name]["settle"]["tool"]) if is_settle_call(step) else name

    def tool(self, pod: Body) -> Body:
        """The Tool that a pod is of."""
        return dict(self._tools[pod["metadata"]["namespace"], self.tool_name(pod)])

    def effect(self, run: Body, step: str) -> str:
        """The effect of the Tool of a step, or of the call that settles its doubt."""
        return "ReadOnly" if is_settle_call(step) else str(self._of(run, step)["effect"])

    def settles(self, run: Body, step: str) -> bool:
        """Whether the Tool of a step has a settle tool."""
        return "settle" in self._of(run, step)

    def _of(self, run: Body, step: str) -> Body:
        return dict(self._tools[run["metadata"]["namespace"], self._tool_of(run["metadata"]["uid"], step)])

    def _tool_of(self, run_uid: str, step: str) -> str:
        return next(str(it["tool"]) for it in self._steps[run_uid] if it["name"] == doubted_step(step))


def record_of(status: Body, name: str) -> Body:
    """The record of this name; empty if there is none."""
    return next((it for it in status.get("steps", []) if it["name"] == name), {})


def is_active(pod: Body) -> bool:
    """Whether a pod counts towards the limits: nobody has said that it has ended."""
    ended = any("terminated" in it["state"] for it in pod["status"].get("containerStatuses", []))
    return not ended and pod["status"].get("phase") not in ("Succeeded", "Failed")


def lasting(status: Body) -> Body:
    """A status without what only says which spec was looked at."""
    conditions = [{**it, "observedGeneration": 0} for it in status.get("conditions", [])]
    return {**status, "observedGeneration": 0, "conditions": conditions}


def whereabouts(pod: Body) -> str:
    """How a pod stands, in a few words."""
    held = FINALIZER_RESULT in pod["metadata"].get("finalizers", [])
    return f"{pod['status'].get('phase')}, held: {held}, deleting: {'deletionTimestamp' in pod['metadata']}"


def place_of(pod: Body) -> tuple[str, str]:
    """The UID of the run that a pod is of, and the step."""
    labels = pod["metadata"]["labels"]
    return labels[LABEL_RUN_UID], labels[LABEL_STEP]


def standing(run: Body) -> str:
    """How a run and its steps stand, in a few words."""
    status = run.get("status") or {}
    told = ("name", "state", "reason", "attempt", "epoch", "podUID")
    steps = ", ".join(" ".join(str(it[field]) for field in told if field in it) for it in status.get("steps", []))
    return f"run {run['metadata']['name']}: {status.get('phase')} {status.get('reason', '')} [{steps}]"
