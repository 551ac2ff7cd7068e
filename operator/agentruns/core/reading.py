"""How much of stored outputs a step may read, and a round: all that is read is held until the decision is made."""

from collections.abc import Hashable
from typing import Any, Final

from agentruns.core.observed import Observed
from agentruns.core.problems import Problem
from agentruns.core.questions import Lost, StoredOutput
from agentruns.core.records import OutputRef

READ_LIMIT: Final = 8_388_608
"""Bytes of stored outputs that one step reads, or the output of a run."""
READ_VALUES: Final = 400_000
"""Values in them: each takes up to 90 bytes once it is read, where its text may have two."""


class PutOff(Exception):  # noqa: N818 - it is no error: the step has its turn in a later round
    """What a step reads finds no room beside what others have read in this round."""


class Reading:
    """What is read in a round, and what of that by the step at hand."""

    def __init__(self) -> None:
        self._round, self._step, self._mine = _Held(), _Held(), set[Hashable]()

    def begin(self) -> None:
        """From now on it is another step that reads."""
        self._step, self._mine = _Held(), set()

    def stored(self, ref: OutputRef, seen: Observed) -> Any:
        """The content of an output, or Lost; Problem if the step reads too much, PutOff if it is to wait.

        What its record can tell of that is said before it is asked for.
        """
        question = StoredOutput(ref)
        self._count(question, ref.bytes)
        found = seen.answer(question)
        if isinstance(found, Lost):
            return found
        self._count(question, ref.bytes, found.values)
        return found.value

    def _count(self, question: Hashable, length: int, values: int = 0) -> None:
        self._step.put(question, length, values)
        if too_much := self._step.too_much:
            raise Problem(f"reads {too_much}; take what is needed in the steps that make them, or in steps between")
        self.take(question, length, values)

    def take(self, question: Hashable, length: int, values: int = 0) -> None:
        """Counts what the step cannot go on without, whatever it is; PutOff if others have left no room for it."""
        new = question not in self._round
        self._round.put(question, length, values)
        self._mine.add(question)
        if self._round.too_much and len(self._round) > len(self._mine):
            if new:
                self._round.drop(question)  # it is not read, and may leave room for what others read
            raise PutOff


class _Held:
    """What is held at once, and how much that is."""

    def __init__(self) -> None:
        self._sizes = dict[Hashable, tuple[int, int]]()
        self._length = self._values = 0

    def __contains__(self, question: Hashable) -> bool:
        return question in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def put(self, question: Hashable, length: int, values: int) -> None:
        """Counts an answer, once; its values when they are known."""
        known = self._sizes.get(question, (0, 0))
        self._sizes[question] = now = (length, max(values, known[1]))
        self._length += now[0] - known[0]
        self._values += now[1] - known[1]

    def drop(self, question: Hashable) -> None:
        """Counts an answer no more."""
        length, values = self._sizes.pop(question)
        self._length -= length
        self._values -= values

    @property
    def too_much(self) -> str:
        """What is more than one step may read, in words; empty if nothing is."""
        if self._length > READ_LIMIT:
            return f"{self._length} bytes of stored outputs; at most {READ_LIMIT} are read at once"
        if self._values > READ_VALUES:
            return f"stored outputs with {self._values} values; at most {READ_VALUES} are read at once"
        return ""
