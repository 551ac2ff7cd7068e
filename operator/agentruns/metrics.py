"""Every metric of the operator. Labels are enums, never names, UIDs or messages."""

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_STANDING: Final = CollectorRegistry()
"""What is told by the operator that works alone: two would count everything twice, and one of them from afar."""

STEP_SECONDS = Histogram(
    "agentruns_step_seconds",
    "From a step's first pod to its end, by its final state.",
    ["state"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
RUNS_FINISHED = Counter("agentruns_runs_finished_total", "Runs that came to their end, by phase.", ["phase"])
PASS_SECONDS = Histogram("agentruns_reconcile_seconds", "Duration of a pass over a run.")
PASS_ERRORS = Counter("agentruns_reconcile_errors_total", "Passes that failed and are tried again.", ["kind"])
CONFLICTS = Counter(
    "agentruns_record_conflicts_total", "Status writes refused because the run had changed meanwhile, or gone."
)
LEADER = Gauge("agentruns_leader", "1 if this operator works, 0 if it stands by.")
QUEUE_DEPTH = Gauge(
    "agentruns_queue_depth",
    "Objects that wait for a pass, those whose last one failed too.",
    ["kind"],
    registry=_STANDING,
)
LAST_PASS = Gauge(
    "agentruns_last_pass_timestamp_seconds", "When the last pass over a run ended well.", registry=_STANDING
)
POLICY_ENFORCED = Gauge(
    "agentruns_policy_enforced", "1 if forged decisions were refused when last tried, else 0.", registry=_STANDING
)
RUNS = Gauge("agentruns_runs", "AgentRuns that exist, by phase.", ["phase"], registry=_STANDING)
APPROVALS_PENDING = Gauge("agentruns_approvals_pending", "Approvals that nobody has decided on.", registry=_STANDING)
OLDEST_APPROVAL = Gauge(
    "agentruns_oldest_approval_seconds", "Age of the oldest undecided Approval.", registry=_STANDING
)
STEPS_IN_DOUBT = Gauge(
    "agentruns_steps_in_doubt", "Steps whose outcome is unknown, for a person to settle.", registry=_STANDING
)


def serve(port: int) -> None:
    """Serves /metrics on a thread of its own."""
    start_http_server(port)


def lead() -> None:
    """From now on this operator tells how everything stands."""
    LEADER.set(1)
    REGISTRY.register(_STANDING)
