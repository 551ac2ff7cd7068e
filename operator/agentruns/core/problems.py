"""What cannot work, said with the field and the remedy: a user's mistake is a decision, and not a failure of ours."""

from collections.abc import Iterator
from contextlib import contextmanager


class Problem(ValueError):  # noqa: N818 - it is no error of this program
    """Something that cannot work; the message names the field and the remedy, the reason goes into the status."""

    def __init__(self, message: str, reason: str = "InvalidSpec") -> None:
        super().__init__(message)
        self.reason = reason


@contextmanager
def within(field: str) -> Iterator[None]:
    """Has every Problem of what is done inside say which field it is about."""
    try:
        yield
    except Problem as problem:
        raise Problem(f"{field}: {problem}", problem.reason) from problem
