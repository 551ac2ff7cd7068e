"""Bad and good manifests of the custom resources, as changes to the smallest valid ones, with what the API server says.

What the API server cannot know ends in the operator, as Failed/InvalidSpec: a step that needs one below it or one that
does not exist (1,000 x 16 look-ups are over CEL's cost limit), and all that is inside of expressions, JSON Schemas and
free-form JSON.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

SHA = "sha256:" + "0" * 64
STEP: Spec = {"name": "lookup", "tool": "order-lookup"}
NEXT: Spec = {"name": "refund", "tool": "payments-refund"}
BASE: dict[str, Spec] = {
    "agentruns": {"steps": [STEP]},
    "tools": {"description": "Looks up an order.", "image": f"registry.example/lookup@{SHA}"},
    "approvals": {
        "runRef": {"name": "refund-4711", "uid": "b3c9"},
        "step": "refund",
        "tool": "payments-refund",
        "purpose": "Effect",
        "digest": SHA,
        "request": {"summary": "Refund 12.50 EUR of order 4711", "args": {"order": {"ids": [4711, {"lost": True}]}}},
    },
}


def step(**change: Any) -> Spec:
    return {"steps": [STEP | change]}


def egress(**rule: Any) -> Spec:
    return {"egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]} | rule]}


DURATION = "must be a positive duration in hours, minutes and seconds, such as 30s, 5m or 1h30m"
FIXED = "it is fixed when the run is created; to do something else, create a new AgentRun"
QUESTION = "it is part of the question and cannot be changed; only decision can be written"
FINAL = "spec.decision: Forbidden: already decided; a decision is final"

# Changes to the smallest spec, and what the API server says about them.
REFUSED: dict[str, list[tuple[Spec, str]]] = {
    "agentruns": [
        ({"steps": None}, "spec.steps: Required value"),
        ({"steps": []}, "spec.steps in body should have at least 1 items"),
        ({"steps": [STEP | {"name": f"s{n}"} for n in range(1001)]}, "spec.steps: Too many"),
        ({"steps": [STEP, NEXT, STEP]}, 'spec.steps[2]: Duplicate value: {"name":"lookup"}'),
        ({"stepz": [STEP]}, 'unknown field "spec.stepz"'),
        (step(name="look-up"), 'spec.steps[0].name: Invalid value: "look-up": must be lower-case letters'),
        (step(name="Lookup"), 'spec.steps[0].name: Invalid value: "Lookup": must be lower-case letters'),
        (step(name="look_"), 'spec.steps[0].name: Invalid value: "look_": must be lower-case letters'),
        (step(name=""), 'spec.steps[0].name: Invalid value: "": must be lower-case letters'),
        (step(name="a" * 41), "spec.steps[0].name: Too long"),
        (step(tool=None), "spec.steps[0].tool: Required value"),
        (step(tool="Order_Lookup"), 'spec.steps[0].tool: Invalid value: "Order_Lookup": must be the name of'),
        (step(args=["4711"]), "spec.steps[0].args in body must be of type object"),
        (step(when="x" * 2049), "spec.steps[0].when: Too long"),
        (step(approval="Never"), 'spec.steps[0].approval: Unsupported value: "Never"'),
        (step(onFailure="Ignore"), 'spec.steps[0].onFailure: Unsupported value: "Ignore"'),
        (step(timeout="-5s"), f'spec.steps[0].timeout: Invalid value: "-5s": {DURATION}'),
        (step(timeout="1.5s"), f'spec.steps[0].timeout: Invalid value: "1.5s": {DURATION}'),
        (step(verify=[{"message": "no receipt"}]), "spec.steps[0].verify[0].expression: Required value"),
        ({"steps": [STEP, NEXT | {"needs": ["lookup"]}]}, "spec.steps: Invalid value: needs is only for order: G"),
        ({"order": "Graph"} | step(needs=["a"] * 2), "spec.steps[0].needs[1]: Duplicate value"),
        ({"order": "Graph"} | step(needs=[f"s{n}" for n in range(17)]), "spec.steps[0].needs: Too many"),
        ({"order": "Parallel"}, 'spec.order: Unsupported value: "Parallel"'),
        ({"goal": "x" * 4097}, "spec.goal: Too long"),
        ({"input": [1]}, "spec.input in body must be of type object"),
        ({"output": "${steps.lookup.output}"}, "spec.output in body must be of type object"),
        ({"idempotencyKey": ""}, "spec.idempotencyKey in body should be at least 1 chars long"),
        ({"parallelism": 0}, "spec.parallelism in body should be greater than or equal to 1"),
        ({"deadline": "0s"}, f'spec.deadline: Invalid value: "0s": {DURATION}'),
        ({"deadline": "8761h"}, f'spec.deadline: Invalid value: "8761h": {DURATION}'),
        ({"deadline": ""}, f'spec.deadline: Invalid value: "": {DURATION}'),
        ({"deadline": 60}, "spec.deadline in body must be of type string"),
        ({"desiredState": "Stopped"}, 'spec.desiredState: Unsupported value: "Stopped"'),
        ({"ttlAfterFinished": "1h"}, "spec.idempotencyKey: Required value: ttlAfterFinished needs it"),
    ],
    "tools": [
        ({"image": None}, "spec.image: Required value"),
        ({"image": "registry.example/lookup@sha256:..."}, "a digest is @sha256: and 64 hexadecimal digits"),
        ({"description": None}, "spec.description: Required value"),
        ({"effect": "Harmless"}, 'spec.effect: Unsupported value: "Harmless"'),
        ({"approval": "Unless"}, "spec.approvalUnless: Required value: approval: Unless needs the expression"),
        ({"approvalUnless": "true"}, "spec.approvalUnless: Invalid value: it is only for approval: Unless"),
        ({"inputSchema": True}, "spec.inputSchema in body must be of type object"),
        ({"timeout": "-1m"}, f'spec.timeout: Invalid value: "-1m": {DURATION}'),
        ({"retry": {"attempts": 21}}, "spec.retry.attempts in body should be less than or equal to 20"),
        ({"retry": {"maxBackoff": "soon"}}, f'spec.retry.maxBackoff: Invalid value: "soon": {DURATION}'),
        ({"settle": {"tool": "refund-status"}}, "spec.settle.happened: Required value"),
        ({"env": [{"name": "AGENTRUN_INPUT", "value": "{}"}]}, "spec.env[0].name: Invalid value"),
        ({"env": [{"name": "API-URL", "value": ""}]}, 'spec.env[0].name: Invalid value: "API-URL": must be letters'),
        ({"env": [{"name": "TOKEN"}]}, "spec.env[0]: Invalid value: must have exactly one of value and valueFrom"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "spec.env[0].valueFrom: Invalid value: must have exactly one of"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}, 'unknown field "spec.env[0].valueFrom.fieldRef"'),
        ({"egress": [{}]}, "spec.egress[0].to: Required value"),
        (egress(to=[{}]), "spec.egress[0].to[0]: Invalid value: must have either ipBlock, or podSelector"),
        (egress(to=[{"ipBlock": {"cidr": "192.0.2.7"}}]), "spec.egress[0].to[0].ipBlock.cidr in body must be of type"),
        (
            egress(to=[{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}]),
            "In and NotIn need values",
        ),
        (egress(ports=[{"port": 65536}]), "spec.egress[0].ports[0].port: Invalid value: 65536: must be a number"),
        (egress(ports=[{"port": 90, "endPort": 80}]), "spec.egress[0].ports[0].endPort: Invalid value: it needs"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "spec.resources.limits: Invalid value: only cpu, memory"),
        ({"resources": {"limits": {"memory": "much"}}}, 'spec.resources.limits[memory]: Invalid value: "much"'),
        ({"resources": {"limits": {"cpu": 0}}}, "spec.resources.limits[cpu]: Invalid value: 0: must be a positive"),
        ({"resources": {"limits": {"cpu": 1}, "requests": {"cpu": "1500m"}}}, "spec.resources.requests: Invalid value"),
        ({"runtimeClassName": "gVisor"}, 'spec.runtimeClassName: Invalid value: "gVisor": must be the name of'),
    ],
    "approvals": [
        ({"digest": "sha256:12"}, "spec.digest in body should match"),
        ({"purpose": "Question"}, 'spec.purpose: Unsupported value: "Question"'),
        ({"request": None}, "spec.request: Required value"),
        ({"step": None}, "spec.step: Invalid value: only an InDoubt about a run as a whole has no step and no tool"),
        ({"purpose": "InDoubt", "tool": None}, "only an InDoubt about a run as a whole has no step and no tool"),
        ({"step": None, "tool": None}, "only an InDoubt about a run as a whole has no step and no tool"),
    ],
}

WHOLE_RUN: Spec = {"purpose": "InDoubt", "step": None, "tool": None}

ACCEPTED: dict[str, list[tuple[Spec]]] = {
    "agentruns": [
        ({},),
        ({"order": "Graph", "steps": [STEP, NEXT | {"needs": ["lookup"], "args": {"deep": [[{"a": None}]]}}]},),
        ({"idempotencyKey": "refund-4711", "ttlAfterFinished": "168h", "deadline": "1h30m5s"},),
        (step(needs=[], approval="Always", onFailure="Continue", timeout="30s", tool="order.lookup-2"),),
    ],
    "tools": [
        ({},),
        ({"approval": "Unless", "approvalUnless": "double(args.amount) <= 50.0", "effect": "Idempotent"},),
        ({"settle": {"tool": "refund-status", "happened": "result.found", "after": "30s"}},),
        ({"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "payments", "key": "token"}}}]},),
        (egress(to=[{"namespaceSelector": {}, "podSelector": {}}], ports=[{"port": 443}, {"port": "https"}]),),
        (egress(ports=[{"port": 8000, "endPort": 8999, "protocol": "UDP"}]),),
        ({"resources": {"limits": {"cpu": 1, "memory": "128Mi"}, "requests": {"cpu": "500m"}}},),
    ],
    "approvals": [({},), (WHOLE_RUN,)],
}

DECIDED = {"purpose": "InDoubt", "decision": {"verdict": "Happened", "output": {"receipt": "R-99"}}}

OPTIONAL: list[tuple[str, Any, Any]] = [
    ("goal", "Refund order 4711", "Refund order 4712"),
    ("input", {"order": {"ids": ["4711"]}}, {"order": {"ids": ["4712"]}}),
    ("output", {"total": "${run.input.total}"}, {"total": 1}),
    ("idempotencyKey", "refund-4711", "refund-4712"),
    ("deadline", "1h", "2h"),
    ("requestedBy", "bob@example.com", "alice@example.com"),
]

# Changes to the smallest spec that is stored, merge patches of it, and what the API server says about them.
UPDATE_REFUSED: dict[str, list[tuple[Spec, Spec, str]]] = {
    "agentruns": [
        *(({field: old}, {field: new}, f"spec.{field}: Forbidden: {FIXED}") for field, old, new in OPTIONAL),
        *(({}, {field: new}, f"spec.{field}: Forbidden: {FIXED}") for field, _, new in OPTIONAL),
        *(({field: old}, {field: None}, f"spec.{field}: Forbidden: {FIXED}") for field, old, _ in OPTIONAL),
        ({}, {"order": "Graph"}, f"spec.order: Forbidden: {FIXED}"),
        ({}, {"parallelism": 11}, f"spec.parallelism: Forbidden: {FIXED}"),
        ({}, {"steps": [STEP, NEXT]}, f"spec.steps: Forbidden: {FIXED}"),
        ({"steps": [STEP, NEXT]}, {"steps": [NEXT, STEP]}, f"spec.steps: Forbidden: {FIXED}"),
        ({}, step(args={"order": "4712"}), f"spec.steps: Forbidden: {FIXED}"),
        (step(args={"ids": [1, {"a": 2}]}), step(args={"ids": [1, {"a": 3}]}), f"spec.steps: Forbidden: {FIXED}"),
        ({"desiredState": "Cancelled"}, {"desiredState": "Running"}, "spec.desiredState: Forbidden: a cancelled"),
        ({"desiredState": "Cancelled"}, {"desiredState": None}, "spec.desiredState: Forbidden: a cancelled"),
        ({}, {"ttlAfterFinished": "1h"}, "spec.idempotencyKey: Required value: ttlAfterFinished needs it"),
    ],
    "approvals": [
        ({}, {"runRef": {"uid": "other"}}, f"spec.runRef: Forbidden: {QUESTION}"),
        ({}, {"step": "other"}, f"spec.step: Forbidden: {QUESTION}"),
        ({}, {"tool": "other"}, f"spec.tool: Forbidden: {QUESTION}"),
        ({"purpose": "InDoubt"}, {"step": None, "tool": None}, f"spec.step: Forbidden: {QUESTION}"),
        (WHOLE_RUN, {"step": "refund", "tool": "payments-refund"}, f"spec.tool: Forbidden: {QUESTION}"),
        ({}, {"purpose": "InDoubt"}, f"spec.purpose: Forbidden: {QUESTION}"),
        ({}, {"digest": SHA.replace("0", "1")}, f"spec.digest: Forbidden: {QUESTION}"),
        ({}, {"request": {"summary": "harmless"}}, f"spec.request: Forbidden: {QUESTION}"),
        ({}, {"request": {"args": {"order": {"ids": [1]}}}}, f"spec.request: Forbidden: {QUESTION}"),
        ({}, {"request": {"args": None}}, f"spec.request: Forbidden: {QUESTION}"),
        ({}, {"request": {"why": "because"}}, f"spec.request: Forbidden: {QUESTION}"),
        ({}, {"decision": {"reason": "fine"}}, "spec.decision.verdict: Required value"),
        ({}, {"decision": {"verdict": "Yes"}}, 'spec.decision.verdict: Unsupported value: "Yes"'),
        ({}, {"decision": {"verdict": "RunAgain"}}, "spec.decision.verdict: Invalid value: this Approval asks wh"),
        ({"purpose": "InDoubt"}, {"decision": {"verdict": "Approve"}}, "answer Happened (with its output), RunA"),
        ({}, {"decision": {"verdict": "Approve", "digest": "sha256:1"}}, "this decision is for another request"),
        ({}, {"decision": {"verdict": "Approve", "output": 1}}, "output is only for verdict: Happened; remove it"),
        (DECIDED, {"decision": {"verdict": "Fail", "output": None}}, FINAL),
        (DECIDED, {"decision": {"output": {"receipt": "R-100"}}}, FINAL),
        (DECIDED, {"decision": {"reason": "on second thought"}}, FINAL),
        (DECIDED, {"decision": None}, FINAL),
    ],
}

UPDATE_ACCEPTED: dict[str, list[tuple[Spec, Spec]]] = {
    "agentruns": [
        ({}, {"desiredState": "Paused"}),
        ({"desiredState": "Paused"}, {"desiredState": "Running"}),
        ({"idempotencyKey": "k"}, {"ttlAfterFinished": "1h"}),
        ({"idempotencyKey": "k", "ttlAfterFinished": "1h"}, {"ttlAfterFinished": None}),
    ],
    "approvals": [
        ({}, {"decision": {"verdict": "Approve", "digest": SHA, "reason": "checked with the carrier"}}),
        ({}, {"decision": {"verdict": "Reject"}}),
        ({"purpose": "InDoubt"}, {"decision": {"verdict": "Happened", "output": [1, "two", None]}}),
        ({"purpose": "InDoubt"}, {"decision": {"verdict": "RunAgain"}}),
        (WHOLE_RUN, {"decision": {"verdict": "Happened", "output": {"receipt": "R-99"}}}),
    ],
}
