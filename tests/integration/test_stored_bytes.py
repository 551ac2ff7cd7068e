"""What a text takes in the cluster's store, by which the room in a status is counted. For a local cluster."""

import pytest
from agentruns.core.digests import stored_length

from tests.cluster import control_plane
from tests.space import Space, step


@pytest.mark.parametrize(
    "text", ["<", ">", "&", "\u2028", "\u2029", '"', "\\", "\n", "\u0001", "\u007f", "é", "𝄞", "'"]
)
def test_a_character_takes_what_is_counted_for_it(space: Space, text: str) -> None:
    sizes = []
    for times in (10, 20):
        name = f"r{times}"
        space.start(name, step("one", "never-there"), desiredState="Paused", input={"text": text * times})
        stored = control_plane.stored(f"/registry/agentrun.dev/agentruns/{space.name}/{name}")
        _, _, rest = stored.partition(b'"text":')
        value, _, _ = rest.partition(b"}")
        sizes.append((len(value), stored_length(text * times)))
    assert [it for it, _ in sizes] == [it for _, it in sizes]
