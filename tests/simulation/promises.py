"""What the operator promises, checked after every write and every act of a program."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

from agentruns.cluster import Body
from agentruns.core.naming import FINALIZER_RESULT, claim_name, is_settle_call, settle_call
from agentruns.core.observed import POD_LIMIT_REACHED

from tests.simulation.bodies import Wanted, is_active, lasting, place_of, record_of, standing, whereabouts
from tests.simulation.world.api import Change
from tests.simulation.world.ledger import Effect
from tests.simulation.world.world import World

HARD_END: Final = 10 + 65.0
"""Seconds after which a program that has been started has ended for certain: every Tool has the same timeout."""
FINAL: Final = ("Succeeded", "Failed", "Cancelled")


class Promises:
    """Looks on, and says which promise was broken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.can_be_read: Callable[[str, str], bool]
        self._recorded: dict[str, tuple[str, int]] = {}
        """By the UID of a pod, the step and epoch that it was ever recorded for."""
        self._wanted = Wanted()
        self._run_again: set[str] = set()
        """The UIDs of runs that a person had go on with a task of which nobody knows how far it came."""
        self._approved: set[tuple[str, str]] = set()
        self._running: dict[tuple[str, str], str] = {}
        self._given_up: set[str] = set()
        """The UIDs of pods whose step came into doubt as their node did not answer, which may run for ever."""
        self._begun: dict[str, float] = {}
        """By the UID of a pod, when its program was first started."""
        self._said: set[str] = set()
        """The UIDs of pods that have printed a result, good or not."""
        self._latest: dict[tuple[str, str], str] = {}
        """The UID of the pod that was last recorded as prepared, by the UID of its run, and step."""
        self._pins: dict[tuple[str, str], str] = {}
        """The name of the revision that a run has pinned, by its UID and the Tool."""
        self._ends: dict[str, str] = {}
        """The phase of a run that went when its time to live was over, by its UID."""
        self._absent: set[str] = set()
        """The UIDs of pods of which it was believed that they have not acted, and will not."""

    # ------------------------------------------------------------------------------------ what programs do

    def started(self, pod: Body) -> None:
        """Only a recorded pod starts, and never beside another of its step."""
        place, uid = place_of(pod), pod["metadata"]["uid"]
        self._begun.setdefault(uid, self._world.loop.time())
        if uid not in self._recorded:
            self._world.violated(f"pod {pod['metadata']['name']} starts, and was never recorded")
        else:
            self._runs_what_is_pinned(pod)
        if not self._stored(uid):
            return  # torn out before its kubelet heard of it: what it does is outside of what is promised
        other = self._running.get(place, uid)
        unwanted = other in self._world.ledger.printed or other in self._given_up
        harmless = is_settle_call(place[1]) and unwanted  # it reads, and nobody waits for it
        if other != uid and self._stored(other) and not harmless:
            self._world.violated(f"two attempts of step {place[1]} run at once")
        self._running[place] = uid

    def _runs_what_is_pinned(self, pod: Body) -> None:
        """A Tool that was edited since concerns later runs."""
        (run_uid, _), space = place_of(pod), pod["metadata"]["namespace"]
        pinned = self._world.api.find("controllerrevisions", space, self._pins[run_uid, self._wanted.tool_name(pod)])
        if pinned and pinned["data"]["image"] != pod["spec"]["containers"][0]["image"]:
            self._world.violated(f"pod {pod['metadata']['name']} runs what was not pinned")

    def acted(self, pod: Body) -> None:
        """An effect is approved, and no effect that must not be repeated is repeated."""
        (run_uid, step), uid = place_of(pod), pod["metadata"]["uid"]
        tool = self._wanted.tool(pod)
        key = next(
            it["value"] for it in pod["spec"]["containers"][0]["env"] if it["name"] == "AGENTRUN_IDEMPOTENCY_KEY"
        )
        _, epoch = self._recorded.get(uid, ("", 0))
        if tool["approval"] == "Always" and (run_uid, step) not in self._approved:
            self._world.violated(f"step {step} acts without having been approved")
        before = [it for it in self._world.ledger.effects if (it.run_uid, it.step) == (run_uid, step)]
        if uid in self._absent:
            self._world.violated(f"step {step} acts after a no of its settle tool was believed")
        if tool["effect"] == "NonIdempotent" and any(it.epoch == epoch for it in before):
            self._world.violated(f"step {step} acts twice in epoch {epoch}")
        if tool["effect"] == "NonIdempotent" and self._latest.get((run_uid, step), uid) != uid:
            self._world.violated(f"step {step} acts when its next attempt is prepared")
        others = [it for it in self._world.ledger.effects if it.key == key and it.run_uid != run_uid]
        if tool["effect"] == "NonIdempotent" and others and run_uid not in self._run_again:
            self._world.violated(f"step {step} acts for a task that another run has acted for")
        if any(it.key != key for it in before):
            self._world.violated(f"step {step} acts under two idempotency keys")
        self._world.note(f"EFFECT of step {step} by {uid}")
        self._world.ledger.effects.append(Effect(key, uid, run_uid, step, epoch))

    def printed(self, pod: Body, token: str) -> None:
        """A result is there to be read."""
        uid = pod["metadata"]["uid"]
        self._world.note(f"{'result' if token else 'error'} printed by {uid}")
        self._said.add(uid)
        if token:
            self._world.ledger.printed[uid] = token

    def ended(self, pod: Body) -> None:
        """A program runs no more."""
        if self._running.get(place_of(pod)) == pod["metadata"]["uid"]:
            del self._running[place_of(pod)]

    def waited_for(self, pod: Body) -> None:
        """Of a node that is never heard of again only steps that may be repeated wait, in runs that are to go on."""
        (run_uid, name), uid = place_of(pod), pod["metadata"]["uid"]
        run = next((it for it in self._world.api.all("agentruns") if it["metadata"]["uid"] == run_uid), None)
        if run is None or "deletionTimestamp" in run["metadata"]:
            return
        step = record_of(run["status"], name)
        if step.get("podUID") != uid or step["state"] not in ("Prepared", "Running"):
            return
        ending = run["spec"].get("desiredState") == "Cancelled" or "deadline" in run["spec"]
        if ending or is_settle_call(name) or self._wanted.tool(pod)["effect"] == "NonIdempotent":
            self._world.violated(f"step {name} waits for a node that is never heard of again")

    # ----------------------------------------------------------------------------------- what is written

    def changed(self, change: Change) -> None:
        """Every write keeps to what was promised."""
        if change.plural in ("agentruns", "tools") and change.before is None:
            self._wanted.add(change.last)
        if change.plural == "agentruns" and change.after is not None:
            self._run_written(change.before or {}, change.after)
        if change.plural == "agentruns" and change.after is None:
            self._run_gone(change.last)
        if change.plural == "configmaps" and change.after is not None:
            self._claim_written(change.after["data"])
        if change.plural == "configmaps" and change.after is None:
            self._ends.pop(change.last["data"].get("runUid", ""), None)  # what came of it is forgotten
        if change.plural == "approvals" and change.after is not None:
            self._approval_written(change.before or {}, change.after)
        if change.plural == "pods" and change.before is None:
            self._pod_made()
        if change.plural == "pods" and change.before is not None and change.last["metadata"].get("finalizers") == []:
            self._pod_let_go(change.before)

    def _run_written(self, before: Body, after: Body) -> None:
        old, new = before.get("status") or {}, after.get("status") or {}
        if old.get("phase") in FINAL:
            if lasting(old) != lasting(new):
                self._world.violated(f"the record of {after['metadata']['name']} changes after its end")
            return
        self._pins |= {(after["metadata"]["uid"], it["name"]): it["revision"] for it in new.get("tools", [])}
        stood = {it["name"]: it for it in old.get("steps", [])}
        for step in new.get("steps", []):
            if step.get("podUID") and step["state"] in ("Prepared", "Running"):
                self._recorded.setdefault(step["podUID"], (step["name"], step.get("epoch", 0)))
                self._latest[after["metadata"]["uid"], step["name"]] = step["podUID"]
            before_ = stood.get(step["name"], {})
            if step["state"] == "InDoubt" and before_.get("state") != "InDoubt":
                self._doubted(step)
            if is_settle_call(step["name"]) and step["state"] == "Failed" != before_.get("state"):
                self._doubted(step)
            if is_settle_call(step["name"]) and step.get("reason") == "ForeignPod":
                self._world.violated(f"the pod of an earlier {step['name']} is in the way of another")
            if step["state"] == "InDoubt" and step.get("approval") != before_.get("approval"):
                self._asked(after, step, before_)
            if before_.get("state") == "InDoubt" and step.get("reason") == "NotDone":
                self._believed_absent(after["metadata"]["uid"], before_)
            if step.get("reason") == "PodLost" != before_.get("reason") and self._stored(step["podUID"]):
                self._world.violated(f"the pod of step {step['name']} is taken for gone, and is there")
            if step["state"] == "Prepared" and before_.get("state") == "Waiting":
                self._tried_again(before_)
        if new.get("phase") in FINAL:
            self._ended_truthfully(after)
        self._world.note(standing(after))

    def _run_gone(self, run: Body) -> None:
        """A run that has done something goes by itself only if the claim of its task says how it has ended.

        What has done nothing may lose its claim, or leave one by which others ask needlessly.
        """
        uid, space, key = run["metadata"]["uid"], run["metadata"]["namespace"], run["spec"].get("idempotencyKey")
        if not key or uid in self._world.deleted_runs:
            return
        claim = self._world.api.find("configmaps", space, claim_name(space, key))
        end = run["status"]["phase"]
        if end != "Succeeded" and not any(it.run_uid == uid for it in self._world.ledger.effects):
            return
        self._ends[uid] = end
        if claim is None:
            self._world.violated(f"run {run['metadata']['name']} is gone, and no claim says how it has ended")
        else:
            self._claim_written(claim["data"])

    def _claim_written(self, claim: Body) -> None:
        uid = claim.get("runUid", "")
        run = next((it for it in self._world.api.all("agentruns") if it["metadata"]["uid"] == uid), None)
        undone = uid and claim["effects"] == "None" and claim["state"] in ("Failed", "Cancelled")
        if undone and run and (run.get("status") or {}).get("phase") not in FINAL:
            self._world.violated(f"the claim of {claim['task']} says that nothing was done, and its run may go on")
        end = self._ends.get(uid)
        if end and claim["state"] != end:
            self._world.violated(f"the claim of {claim['task']} says {claim['state']} of a run that was {end}")

    def _ended_truthfully(self, run: Body) -> None:
        """What a final record says is what happened, and nothing goes on after it."""
        run_uid = run["metadata"]["uid"]
        for step in run["status"].get("steps", []):
            place = (run_uid, step["name"])
            uid = step.get("podUID", "")
            runs = self._running.get(place, "")
            if self._stored(runs) and runs not in self._world.ledger.printed and step["state"] != "InDoubt":
                self._ended_before_its_pod(run, step, runs)
            effects = [it for it in self._world.ledger.effects if (it.run_uid, it.step) == place]
            verdict = (step.get("decision") or {}).get("verdict")
            token = (step.get("output") or {}).get("token")
            if step["state"] == "Succeeded" and verdict != "Happened" and token != self._world.ledger.printed.get(uid):
                self._settled_truthfully(run, step)
            denied = step["state"] in ("Failed", "Cancelled") and not step.get("effectState")
            if effects and denied and self._wanted.effect(run, step["name"]) != "ReadOnly":
                self._world.violated(f"step {step['name']} acted, and its record says that it did not")

    def _ended_before_its_pod(self, run: Body, step: Body, running: str) -> None:
        """Only a person, or a settle tool's yes, ends a step whose node does not answer; its effect is not denied.

        A call of a settle tool only reads, and nobody waits for it once its node was given up. Past its hard end a run
        that is being ended lets go of what may be repeated, and any of what has said how it is.
        """
        by_hand = (step.get("decision") or {}).get("verdict") in ("Happened", "Fail")
        settled = step["state"] == "Succeeded" and "says that it happened" in step.get("message", "")
        told = running in self._given_up and (by_hand or settled or is_settle_call(step["name"]))
        effect = self._wanted.effect(run, step["name"])
        over = self._world.loop.time() >= self._begun[running] + HARD_END - 1  # its kubelet tells whole seconds
        over = over and step["state"] != "Succeeded" and (effect != "NonIdempotent" or running in self._said)
        denied = effect != "ReadOnly" and step.get("effectState") not in ("MayBeDone", "Done")
        silent = running not in self._said
        if not (told or over) or running != step.get("podUID") or (denied and (told or silent)):
            self._world.violated(f"run {run['metadata']['name']} is final while its step {step['name']} still runs")

    def _settled_truthfully(self, run: Body, step: Body) -> None:
        """An output that is not the step's own is what its settle tool returned, of something that was done."""
        call = record_of(run["status"], settle_call(step["name"]))
        told = {"token": self._world.ledger.printed.get(call.get("podUID", "")), "found": True}
        if step["output"] != told or not self._world.ledger.has(step.get("idempotencyKey", "")):
            self._world.violated(f"step {step['name']} has an output that its pod never printed")

    def _asked(self, run: Body, step: Body, before: Body) -> None:
        """A person is asked only if no settle tool could tell; what it says early counts only if it is a yes."""
        if not self._wanted.settles(run, step["name"]):
            return
        call = record_of(run["status"], settle_call(step["name"]))
        found = (call.get("output") or {}).get("found")
        early = before.get("reason") == "SettlingEarly" and found is False
        if call.get("state") not in ("Succeeded", "Failed") or (isinstance(found, bool) and not early):
            self._world.violated(f"a person is asked about step {step['name']}, and its settle tool could tell")

    def _believed_absent(self, run_uid: str, step: Body) -> None:
        """A no is believed only of an attempt that is over; where nobody saw that, of one that cannot act any more."""
        uid = step["podUID"]
        self._absent.add(uid)
        if self._running.get((run_uid, step["name"])) == uid and self._stored(uid):
            self._world.violated(f"a no is believed while the attempt of step {step['name']} runs")
        if any(it.pod_uid == uid for it in self._world.ledger.effects):
            self._world.violated(f"a no is believed of step {step['name']}, which has acted")

    def _approval_written(self, before: Body, after: Body) -> None:
        spec = after["spec"]
        stood = before.get("status", {}).get("state", "Pending")
        if stood not in ("Pending", after.get("status", {}).get("state")):
            self._world.violated(f"approval {after['metadata']['name']} was settled, and is settled anew")
        place = (spec["runRef"]["uid"], spec.get("step", ""))
        if after.get("status", {}).get("state") == "Approved":
            if spec.get("decision", {}).get("verdict") != "Approve":
                self._world.violated(f"approval {after['metadata']['name']} is settled as nobody decided")
            self._approved.add(place)
        if (spec.get("decision") or {}).get("verdict") == "RunAgain":
            self._run_again.add(place[0])

    def _tried_again(self, waited: Body) -> None:
        """A wait is recorded, so that no restart shortens it; what a person has run again does not wait."""
        due = waited.get("nextAttemptAt")
        if waited.get("reason") == POD_LIMIT_REACHED:
            return  # its time had come before
        if (waited.get("attempt") or due) and (due is None or datetime.fromisoformat(due) > self._world.loop.utc_now()):
            self._world.violated(f"step {waited['name']} is tried again before its time")

    def _pod_let_go(self, pod: Body) -> None:
        """A pod is kept until all that it can say is recorded; what people tear out is theirs."""
        (run_uid, step), uid = place_of(pod), pod["metadata"]["uid"]
        held = FINALIZER_RESULT in pod["metadata"].get("finalizers", []) and uid not in self._world.torn_out
        run = next((it for it in self._world.api.all("agentruns") if it["metadata"]["uid"] == run_uid), None)
        if not held or run is None or "deletionTimestamp" in run["metadata"]:
            return
        record = record_of(run.get("status", {}), step)
        if record.get("podUID") == uid and record.get("state") in ("Prepared", "Running"):
            self._world.violated(f"pod {pod['metadata']['name']} is released before its result is recorded")

    def _pod_made(self) -> None:
        """One operator never makes a pod too many, unless it was not told that it has made others."""
        if self._world.operators > 1:
            return
        active = [
            it
            for it in self._world.api.all("pods")
            if is_active(it) and it["metadata"]["uid"] not in self._world.unanswered
        ]
        spaces = Counter(it["metadata"]["namespace"] for it in active)
        limits = self._world.limits
        if 0 < limits.active_pods < len(active) or 0 < limits.active_pods_per_namespace < max(spaces.values()):
            self._world.violated(f"there are more pods than the limits allow: {dict(spaces)}")

    def _doubted(self, step: Body) -> None:
        """Nobody is asked about what can be read."""
        uid = step.get("podUID", "")
        if step["reason"] in ("NodeLost", "SettlingEarly"):
            self._given_up.add(uid)
        token, pod = self._world.ledger.printed.get(uid), self._stored(uid)
        if token and pod and (token in str(pod["status"]) or self.can_be_read(uid, token)):
            self._world.violated(f"step {step['name']} is in doubt, and its result can be read")

    def _stored(self, uid: str) -> Body | None:
        """The pod of this UID. One that a person tore out is not there, while its container may still run."""
        return next((it for it in self._world.api.all("pods") if it["metadata"]["uid"] == uid), None)

    # -------------------------------------------------------------------------------------- at the end

    def unsettled(self) -> list[str]:
        """What has not come to its end."""
        runs = [it for it in self._world.api.all("agentruns") if (it.get("status") or {}).get("phase") not in FINAL]
        pods = self._world.api.all("pods")
        return [standing(it) for it in runs] + [f"pod {it['metadata']['name']}: {whereabouts(it)}" for it in pods]
