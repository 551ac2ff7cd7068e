"""Every name, label, annotation, finalizer and key that this operator writes, each written once."""

from typing import Final

from agentruns.core.digests import fingerprint

Key = tuple[str, str]
"""Namespace and name of an object."""

GROUP: Final = "agentrun.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

LABEL_RUN_UID: Final = "agentrun.dev/run-uid"
LABEL_STEP: Final = "agentrun.dev/step"
LABEL_ATTEMPT: Final = "agentrun.dev/attempt"
LABEL_REVISION: Final = "agentrun.dev/tool-revision"
LABEL_UNUSED_SINCE: Final = "agentrun.dev/unused-since"
LABEL_TASK: Final = "agentrun.dev/task"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "agentruns"

ANNOTATION_INPUT_DIGEST: Final = "agentrun.dev/input-digest"
ANNOTATION_NOT_AFTER: Final = "agentrun.dev/not-after"
ANNOTATION_EPOCH: Final = "agentrun.dev/epoch"

FINALIZER_RESULT: Final = "agentrun.dev/result"
GATE_RECORDED: Final = "agentrun.dev/recorded"
SANDBOX_CONTAINER: Final = "tool"

DENY_ALL_POLICY: Final = "agentrun-sandboxes"
OUTPUT_KEY: Final = "output.json"
FILES_DIRECTORY: Final = "/agentrun-files"
JOURNAL_KEY: Final = "journal.json"

_SETTLE: Final = "-settle"
"""No name in a spec has a `-`: the records beside its steps share no name with any, and no expression can read them."""

_OF_PODS: Final = "uid:"
_HASH_LENGTH: Final = 8
_LONG_HASH: Final = 16
_NAME_LENGTH: Final = 253
_JOURNAL_HEAD: Final = 40
"""Of the run's name, since the status lists these names."""


def key_of_pods(namespace: str, run_uid: str) -> Key:
    """What the pods of a run that is gone are looked at under: no object has such a name."""
    return namespace, f"{_OF_PODS}{run_uid}"


def gone_run(key: Key) -> str | None:
    """The UID of the gone run whose pods are looked at under this key; None if it is the key of an object."""
    return key[1].removeprefix(_OF_PODS) if key[1].startswith(_OF_PODS) else None


def pod_name(run_name: str, step: str, *identity: str) -> str:
    """A DNS name that begins with run and step, differs for every identity and ends in `-sandbox`.

    The ending is what the admission policy on `exec` can recognise: it sees a pod's name, never its labels.
    """
    return _name(run_name, step, fingerprint(*identity)[:_HASH_LENGTH], "sandbox")


def settle_call(step: str) -> str:
    """The name of the record of the call that settles a doubt about a step."""
    return f"{step}{_SETTLE}"


def is_settle_call(record: str) -> bool:
    """Whether a record of this name is one beside a step, and not a step of the spec."""
    return record.endswith(_SETTLE)


def doubted_step(record: str) -> str:
    """The step that a record is about: itself, or the one whose doubt it settles."""
    return record.removesuffix(_SETTLE)


def approval_name(run_name: str, step: str, digest: str) -> str:
    """A DNS name that begins with run and step and ends in the first characters of the digest."""
    return _name(run_name, step, _short(digest))


def output_name(run_name: str, step: str, digest: str) -> str:
    """The ConfigMap that holds an output too big for the status."""
    return _name(run_name, step, "output", _short(digest))


def claim_name(namespace: str, task: str) -> str:
    """The ConfigMap that says which run holds a task: one name for each task, whatever characters its key has."""
    return f"agentrun-task-{fingerprint(namespace, task)}"


def journal_name(run_name: str, digest: str) -> str:
    """The ConfigMap that holds a segment of a run's journal, named by its content."""
    return _name(run_name[:_JOURNAL_HEAD], "journal", _short(digest, _LONG_HASH))


def revision_name(tool: str, digest: str) -> str:
    """The ControllerRevision that pins one content of a Tool."""
    return _name(tool, _short(digest, _LONG_HASH))


def egress_name(revision: str) -> str:
    """The NetworkPolicy that opens what one revision of a Tool may reach."""
    return _name("agentrun-egress", revision_label(revision))


def revision_label(revision: str) -> str:
    """A label value that stands for a revision; its name may be too long for a label."""
    return fingerprint(revision)[:_LONG_HASH]


def _short(digest: str, length: int = _HASH_LENGTH) -> str:
    return digest.removeprefix("sha256:")[:length]


def _name(head: str, *tail: str) -> str:
    """Head and tail joined by `-`; only the head is cut, so what makes the name unique stays whole."""
    ending = "-".join(tail).replace("_", "-")
    return f"{head[: _NAME_LENGTH - len(ending) - 1].rstrip('-.')}-{ending}"
