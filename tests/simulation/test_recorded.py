"""What nodes of real clusters were seen to say of pods, and then to say next, the simulated ones say, too."""

from tests.simulation.courses import courses
from tests.simulation.recorder import recorded
from tests.simulation.sights import Step

OFTEN = {"end before last phase", "last phase before end", "late decision", "late kubelet", "pod deleted late"}
ENDS = (
    {"slow program", "pod deleted", "pod drained"},
    {"evicted after start", "pod deleted"},
    {"node lost"},
    {"refused by a new kubelet", "slow program"},
    {"refused by a new kubelet", "slow program", "pod deleted", "slow requests", "slow watch"},
    {"refused by its node"},
)
"""What happens to pods in tests on a cluster, by its names in the simulation, where it is seldom."""


def simulated() -> set[Step]:
    """How pods went on in many courses, and in as many with each of the rare ends."""
    found = set[Step]()
    for end in (set[str](), *ENDS):
        with courses(range(250), frozenset(OFTEN | end), traced=True) as them:
            found |= set[Step]().union(*(it.sights for it in them))
    return found


def test_the_simulation_has_been_all_the_ways_that_pods_go_in_clusters() -> None:
    assert unknown(recorded(), simulated()) == set()


def test_a_way_that_is_not_simulated_is_found() -> None:
    known = {("Pending", "Running"), ("Running", "Failed"), ("Failed", "gone")}
    assert unknown({("Pending", "gone"), ("Pending", "Failed")}, known) == set()
    new = {("Running", "Pending"), ("Unknown", "gone")}
    assert unknown(new, known) == new


def unknown(steps: set[Step], known: set[Step]) -> set[Step]:
    """The steps that are not among these, nor several of these at once, as when a kubelet sends two reports as one.

    That a pod begins to be deleted is nobody's habit: anybody may delete it at any time.
    """
    return {it for it in steps if it[1] not in {f"{it[0]} deleting", *_reached(it[0], known)}}


def _reached(start: str, known: set[Step]) -> set[str]:
    found, more = set[str](), {start}
    while more:
        more = {after for before, after in known if before in more} - found
        found |= more
    return found
