"""python3 -m tests.demo: the run of examples/refund on the test cluster, with a person's decision in the middle.

At a terminal it asks for the decision. Without one, or with DEMO_DECISION=Approve or Reject, it decides by itself.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster import toolchain
from tests.cluster.console import ClusterError, output, say
from tests.cluster.places import CHECKOUT, CLUSTER, KUBECONFIG
from tests.commands import kubectl
from tests.images import SANDBOX, SANDBOX_VARIABLE
from tests.waiting import until

_NAMESPACE, _RUN = "refund-demo", "refund-4711"
_ALICE = Path(__file__).with_name("alice.yaml")
_ALICE_KUBECONFIG = CLUSTER / "alice.kubeconfig"
_REASONS = {"Approve": "checked with the carrier", "Reject": "it arrived after all"}
_GOING_ON = f"""
export KUBECONFIG={KUBECONFIG}
kubectl -n {_NAMESPACE} describe arun {_RUN}
kubectl apply -f examples/graph/ && kubectl -n graph-demo get arun -w
make down
"""


def demo() -> None:
    """Applies the run, shows it until it waits, has Alice decide, and shows how it ends."""
    _kubectl("delete", "agentrun", _RUN, "--ignore-not-found", "--cascade=foreground")
    say("a task of two steps: look up an order, and refund it if the parcel was lost")
    _apply()
    _watch("AwaitingApproval", "Failed")
    status = _get("agentrun", _RUN)["status"]
    if status["phase"] != "AwaitingApproval":
        raise ClusterError(f"the run failed before its approval: {status['message']}")
    name = status["waitingFor"][0]["name"]
    say("it waits for a person now, and holds no pod; this is what the person sees:")
    _show("get", "appr")
    _show("describe", "appr", name)
    _decide(_get("approval", name))
    _watch("Succeeded", "Failed")
    say("how it ended, what it gave, who decided, and what ran (a pod's end shows a moment after its result):")
    _show("get", "arun", _RUN, "-o", 'jsonpath={.status.message}{"\\n"}{.status.output}{"\\n"}')
    _show("get", "appr", "-o", "wide")
    _show("get", "pods")
    say("the cluster stays up; to go on by hand, and to take it down:")
    print(_GOING_ON)


def _apply() -> None:
    """Applies the example as it is; on a cluster that was named, with the image that was named too."""
    image = os.environ.get(SANDBOX_VARIABLE)
    if not image:
        _show("apply", "-f", "examples/refund/")
        return
    files = sorted((CHECKOUT / "examples" / "refund").glob("*.yaml"))
    manifests = "\n---\n".join(file.read_text() for file in files).replace(SANDBOX, image)
    say(f"examples/refund/, with the image {image}")
    print(kubectl("apply", "-f", "-", stdin=manifests), flush=True)


def _decide(approval: dict[str, Any]) -> None:
    """Has Alice decide, with a token that can do nothing else."""
    _make_alice()
    approve = _patch(approval, "Approve")
    until(lambda: _may(_ALICE_KUBECONFIG, approve), "alice may decide", 30)
    say("an approver, as alice is here, answers with this command, or with Reject in it:")
    print(f"\n$ {_typed(approve, _ALICE_KUBECONFIG)}\n", flush=True)
    verdict = _verdict()
    if "decision" in _get("approval", approval["metadata"]["name"])["spec"]:
        say("it is decided already")
    else:
        print(output([*_command(_ALICE_KUBECONFIG), *_patch(approval, verdict)]), flush=True)


def _make_alice() -> None:
    """Makes the approver's account, and a kubeconfig that holds nothing but a token of it."""
    _kubectl("apply", f"--filename={_ALICE}")
    config = json.loads(_kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    config["users"][0]["user"] = {"token": _kubectl("create", "token", "alice", "--duration=1h").strip()}
    _ALICE_KUBECONFIG.touch(mode=0o600)
    _ALICE_KUBECONFIG.write_text(json.dumps(config))


def _verdict() -> str:
    """Approve or Reject: from DEMO_DECISION, from the terminal, or else Approve."""
    wanted = os.environ.get("DEMO_DECISION")
    if wanted:
        if wanted not in _REASONS:
            raise ClusterError(f"DEMO_DECISION={wanted}: expected one of {', '.join(_REASONS)}")
        say(f"DEMO_DECISION says {wanted}")
        return wanted
    if not sys.stdin.isatty():
        say("nobody is at a terminal, so the demo approves by itself")
        return "Approve"
    answer = input("Approve? Type y or n; or type the command in another terminal, then press Enter here: ")
    return "Approve" if answer.strip().lower() in ("y", "yes") else "Reject"


def _patch(approval: dict[str, Any], verdict: str) -> list[str]:
    """What a person types; the digest says which request was read."""
    decision = {"verdict": verdict, "digest": approval["spec"]["digest"], "reason": _REASONS[verdict]}
    body = json.dumps({"spec": {"decision": decision}}, separators=(",", ":"))
    return ["patch", "appr", approval["metadata"]["name"], "--type=merge", "-p", body]


def _watch(*phases: str) -> None:
    """Shows the run as `kubectl get -w` does, until it is in one of the phases."""
    watch = ["get", "arun", _RUN, "-w"]
    print(f"\n$ {_typed(watch)}", flush=True)
    with subprocess.Popen([*_command(KUBECONFIG), *watch], stdout=subprocess.PIPE, text=True) as watching:
        for line in watching.stdout or ():
            print(line, end="", flush=True)
            if not set(phases).isdisjoint(line.split()):
                watching.terminate()
    print(flush=True)


def _show(*arguments: str) -> None:
    """Runs a kubectl command as a person would type it, and prints both."""
    print(f"\n$ {_typed(arguments)}\n{_kubectl(*arguments)}", flush=True)


def _typed(arguments: list[str] | tuple[str, ...], kubeconfig: Path = KUBECONFIG) -> str:
    """A command that can be pasted into a shell which has the cluster's KUBECONFIG."""
    who = [] if kubeconfig == KUBECONFIG else ["--kubeconfig", str(kubeconfig.relative_to(CHECKOUT))]
    return shlex.join(["kubectl", *who, "-n", _NAMESPACE, *arguments])


def _command(kubeconfig: Path) -> list[str | Path]:
    return [toolchain.kubectl(), f"--kubeconfig={kubeconfig}", f"--namespace={_NAMESPACE}"]


def _kubectl(*arguments: str) -> str:
    return kubectl(f"--namespace={_NAMESPACE}", *arguments)


def _get(*what: str) -> dict[str, Any]:
    return dict(json.loads(_kubectl("get", *what, "--output=json")))


def _may(kubeconfig: Path, arguments: list[str]) -> bool:
    dry_run = [*_command(kubeconfig), *arguments, "--dry-run=server"]
    return subprocess.run(dry_run, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    os.chdir(CHECKOUT)
    try:
        demo()
    except ClusterError as error:
        sys.exit(f"error: {error}")
    except (KeyboardInterrupt, EOFError):
        sys.exit("interrupted; make demo starts anew")
