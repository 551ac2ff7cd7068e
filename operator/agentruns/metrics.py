"""Every metric of the operator. Labels are enums, never names, UIDs or messages."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

STEP_SECONDS = Histogram(
    "agentruns_step_seconds",
    "From a step's first pod to its end, by its final state.",
    ["state"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
)
RUNS_FINISHED = Counter("agentruns_runs_finished_total", "Runs that came to their end, by phase.", ["phase"])
PASSES = Counter("agentruns_reconcile_total", "Passes over a run.")
PASS_ERRORS = Counter("agentruns_reconcile_errors_total", "Passes over a run that failed and are tried again.")
PASS_SECONDS = Histogram("agentruns_reconcile_seconds", "Duration of a pass over a run.")
CONFLICTS = Counter("agentruns_record_conflicts_total", "Status writes refused because the run had changed meanwhile.")
QUEUE_DEPTH = Gauge("agentruns_queue_depth", "Runs that wait for a pass.")
LAST_PASS = Gauge("agentruns_last_pass_timestamp_seconds", "When the last pass ended well.")
POLICY_ENFORCED = Gauge("agentruns_policy_enforced", "1 if forged decisions were refused when last tried, else 0.")


@dataclass(frozen=True)
class Snapshot:
    """What there is at the moment of a scrape."""

    runs: Mapping[str, int]
    """How many runs there are, by phase."""
    approvals_pending: int
    oldest_approval_seconds: float
    steps_in_doubt: int


class _Standing(Collector):
    """Counts what there is when it is asked, so that nothing is counted while nobody asks."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The gauges that describe what there is."""
        now = self._snapshot()
        runs = GaugeMetricFamily("agentruns_runs", "AgentRuns that exist, by phase.", labels=["phase"])
        for phase, number in now.runs.items():
            runs.add_metric([phase], number)
        yield runs
        for name, text, value in (
            ("approvals_pending", "Approvals that nobody has decided on.", now.approvals_pending),
            ("oldest_approval_seconds", "Age of the oldest undecided Approval.", now.oldest_approval_seconds),
            ("steps_in_doubt", "Steps whose outcome is unknown, for a person to settle.", now.steps_in_doubt),
        ):
            yield GaugeMetricFamily(f"agentruns_{name}", text, value=value)


def serve(port: int, snapshot: Callable[[], Snapshot]) -> None:
    """Serves /metrics on a thread of its own."""
    REGISTRY.register(_Standing(snapshot))
    start_http_server(port, registry=REGISTRY)
