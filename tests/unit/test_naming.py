"""Every name this operator writes is one that Kubernetes takes, whatever a run, a step or a tool is called."""

import re

import pytest
from agentruns.core import naming
from agentruns.core.digests import digest_of
from hypothesis import example, given
from hypothesis import strategies as st

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
DIGEST = digest_of(b"any")
NASTY_RUNS = [
    "a",
    "0",
    "refund-4711",
    "a.b.c",
    "x" * 253,
    "x" * 190 + "." + "y" * 62,
    "-".join(["ab"] * 84),
    ".".join(["ab"] * 84),
    "a" + "-" * 251 + "b",
]
NASTY_STEPS = ["a", "a_b", "a_", "a__", "a" + "_" * 39, "z" * 40, "a1_2"]

run_names = st.text("a0-.", min_size=1, max_size=253).filter(SUBDOMAIN.fullmatch)
step_names = st.text("a0_", max_size=39).map("s".__add__)


def is_name(text: str) -> bool:
    """Whether Kubernetes takes it as the name of an object."""
    return len(text) <= 253 and SUBDOMAIN.fullmatch(text) is not None


@pytest.mark.parametrize("run", NASTY_RUNS)
@pytest.mark.parametrize("step", NASTY_STEPS)
def test_names_of_a_step_are_names_that_begin_with_its_run(run: str, step: str) -> None:
    for name in (
        naming.pod_name(run, step, "uid", step, "0", "1"),
        naming.approval_name(run, step, DIGEST),
        naming.output_name(run, step, DIGEST),
    ):
        assert is_name(name)
        head, _, _ = name.rpartition(f"-{step}-".replace("_", "-"))
        assert head and run.startswith(head)


@given(run_names, step_names)
def test_names_hold_for_any_run_and_step(run: str, step: str) -> None:
    assert is_name(naming.pod_name(run, step, "uid"))
    assert is_name(naming.approval_name(run, step, DIGEST))
    assert is_name(naming.output_name(run, step, DIGEST))


keys = st.text("a:/-1 \u202e", min_size=1, max_size=4)


@given(keys, keys, keys, keys)
@example("a", "bc", "ab", "c")
@example("a", "/b", "a/", "b")
@example("a", "1:b", "a1", ":b")
def test_every_task_has_a_claim_of_its_own(namespace: str, task: str, other_namespace: str, other: str) -> None:
    name = naming.claim_name(namespace, task)
    assert is_name(name)
    assert name.startswith("agentrun-task-")
    same = (namespace, task) == (other_namespace, other)
    assert (name == naming.claim_name(other_namespace, other)) == same


@pytest.mark.parametrize("tool", NASTY_RUNS)
def test_names_and_labels_of_a_tool_are_taken(tool: str) -> None:
    revision = naming.revision_name(tool, DIGEST)
    assert is_name(revision)
    assert is_name(naming.egress_name(revision))
    assert re.fullmatch(r"[0-9a-f]{16}", naming.revision_label(revision))


def test_plain_names_read_plainly() -> None:
    short, long = DIGEST[7:15], DIGEST[7:23]
    assert naming.approval_name("refund-4711", "pay_back", DIGEST) == f"refund-4711-pay-back-{short}"
    assert naming.output_name("refund-4711", "lookup", DIGEST) == f"refund-4711-lookup-output-{short}"
    assert naming.revision_name("order-lookup", DIGEST) == f"order-lookup-{long}"


def test_only_the_head_of_a_name_is_cut() -> None:
    name = naming.pod_name("x" * 253, "z" * 40, "uid")
    assert len(name) == 253
    assert name.endswith(naming.pod_name("r", "z" * 40, "uid").removeprefix("r"))


def test_a_pod_name_ends_as_the_policy_on_exec_recognises_it() -> None:
    assert naming.pod_name("run", "step", "uid").endswith("-sandbox")


def test_a_pod_name_differs_for_every_identity() -> None:
    identities = [("u", "s", "0", "1"), ("u", "s", "0", "2"), ("u", "s", "1", "1"), ("v", "s", "0", "1"), ("us", "01")]
    assert len({naming.pod_name("run", "step", *identity) for identity in identities}) == len(identities)


def test_steps_that_differ_only_in_an_underscore_have_pods_of_their_own() -> None:
    one, other = (naming.pod_name("run", step, "uid", step, "0", "1") for step in ("a_", "a__"))
    assert one != other


def test_every_key_belongs_to_this_group_or_to_kubernetes() -> None:
    keys = {value for key, value in vars(naming).items() if key.startswith(("LABEL_", "ANNOTATION_", "FINALIZER_"))}
    assert len(keys) >= 7
    assert {key.partition("/")[0] for key in keys} == {naming.GROUP, "app.kubernetes.io"}
