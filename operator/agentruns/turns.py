"""A line in which namespaces take turns, and passes that hold what only a few may hold at once."""

from collections import OrderedDict
from collections.abc import Callable

from agentruns.core.naming import Key


class Line:
    """Runs in line: namespaces take turns; within one, who came first goes first."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[Key, None]] = OrderedDict()

    def join(self, run: Key) -> None:
        """The run stands in line; where it stands already, it keeps its place."""
        self._turns.setdefault(run[0], OrderedDict())[run] = None

    def leave(self, run: Key) -> None:
        """The run stands in line no more."""
        runs = self._turns.get(run[0], OrderedDict())
        runs.pop(run, None)
        if not runs:
            self._turns.pop(run[0], None)

    def next(self, may: Callable[[str], bool] = lambda _: True) -> Key | None:
        """Whose turn it is in namespaces of which one may go on; it leaves the line. None if nobody may."""
        namespace = next(filter(may, self._turns), None)
        if namespace is None:
            return None
        runs = self._turns.pop(namespace)
        run, _ = runs.popitem(last=False)
        if runs:
            self._turns[namespace] = runs  # behind the other namespaces
        return run


class Places:
    """A few places, each taken by the pass over one run until it ends. Whoever finds none is woken when it has one."""

    def __init__(self, number: int, wake: Callable[[Key], None]) -> None:
        """`wake` is called with the key of a run for which a place is kept, until it is left."""
        self._number, self._wake = number, wake
        self._taken = set[Key]()
        self._line = Line()

    def take(self, run: Key) -> bool:
        """Whether the run has a place; if not, it stands in line."""
        if run not in self._taken:
            if len(self._taken) >= self._number:
                self._line.join(run)
                return False
            self._taken.add(run)
        return True

    def leave(self, run: Key) -> None:
        """The run has no place any more, and stands in no line for one."""
        self._line.leave(run)
        self.rest(run)

    def rest(self, run: Key) -> None:
        """The run's place goes to who is next; where it has none, it goes on standing in line."""
        self._taken.discard(run)
        while len(self._taken) < self._number and (following := self._line.next()):
            self._taken.add(following)
            self._wake(following)
