"""What a run's journal holds, as whoever reads it later checks it."""

from __future__ import annotations

import hashlib
import json

from tests.accounts import Body
from tests.space import Space


def journal_of(space: Space, status: Body) -> list[Body]:
    """The records in a run's journal, each segment checked against its digest and the one before."""
    found, before = list[Body](), ""
    for segment in status["journal"]:
        stored = space.get("configmaps", segment["name"])
        text = stored["data"]["journal.json"]
        assert stored["immutable"] is True
        assert segment["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        content = json.loads(text)
        assert content["previous"] == before
        found += content["steps"]
        before = segment["digest"]
    return found
