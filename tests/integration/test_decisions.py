"""What a decision is on a real API server: signed by it, final, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.accounts import Body
from tests.shop import ALICE, OPERATOR, Shop, agentrun, approval, secret, tool

COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
OWNERLESS: Body = {"metadata": {"ownerReferences": None}}


@pytest.fixture
def asked(shop: Shop) -> tuple[str, ...]:
    """The place of a new Approval."""
    return shop.stored("approvals", approval(shop.run))


def decision(verdict: str = "Approve", **more: Any) -> Body:
    return {"spec": {"decision": {"verdict": verdict} | more}}


def test_a_decision_is_signed_by_the_api_server(shop: Shop, asked: tuple[str, ...]) -> None:
    answer = shop.accounts["alice"].patch(asked, decision(reason="checked with the carrier"), store=True)
    assert answer.body["spec"]["decision"] == {"verdict": "Approve", "reason": "checked with the carrier", "by": ALICE}


def test_what_happened_is_kept_as_it_was_said(shop: Shop) -> None:
    asked = shop.stored("approvals", approval(shop.run, purpose="InDoubt"))
    output = {"receipt": "R-99", "parts": [1, None, {"by": "bob"}]}
    answer = shop.accounts["alice"].patch(asked, decision("Happened", output=output), store=True)
    assert answer.body["spec"]["decision"] == {"verdict": "Happened", "output": output, "by": ALICE}


def test_an_empty_signature_is_filled_in_and_the_right_one_is_fine(shop: Shop, asked: tuple[str, ...]) -> None:
    for by in ("", ALICE):
        assert shop.accounts["alice"].patch(asked, decision(by=by)).body["spec"]["decision"]["by"] == ALICE


def test_a_listed_service_account_signs_with_its_own_name(shop: Shop, asked: tuple[str, ...]) -> None:
    answer = shop.accounts["approver"].patch(asked, decision("Reject"))
    assert answer.body["spec"]["decision"]["by"] == f"system:serviceaccount:{shop.namespace}:approver"


@pytest.mark.parametrize(
    ("who", "patch", "said"),
    [
        ("alice", decision(by="bob@example.com"), f"decision.by must be {ALICE}; leave it out, it is written for you"),
        ("admin", decision(by=ALICE), "denied request: decision.by must be "),
        ("unlisted", decision(), "unlisted is a service account that may not decide; list it in approvals.serviceAcc"),
        ("gitops", decision(), "gitops is a service account that may not decide"),
        ("listed", decision(), 'cannot patch resource "approvals"'),
        ("author", decision(), 'cannot patch resource "approvals"'),
        ("alice", decision(digest="sha256:1"), "this decision is for another request"),
        ("alice", {"spec": {"decision": "Approve"}}, 'spec.decision in body must be of type object: "string"'),
        ("alice", {"spec": {"decision": {"by": ALICE}}}, "spec.decision.verdict: Required value"),
        ("alice", {"spec": None}, "spec: Required value"),
        ("alice", decision() | {"metadata": {"labels": {"a": "b"}}}, "labels, owners and finalizers of an Approval"),
        ("alice", OWNERLESS, "labels, owners and finalizers of an Approval cannot be changed"),
        ("alice", {"metadata": {"finalizers": ["example.com/mine"]}}, "labels, owners and finalizers of an Approval"),
        ("alice", {"metadata": {"annotations": {"a": "b"}}}, "annotations of an Approval cannot be changed"),
    ],
)
def test_a_wrong_decision_is_refused(shop: Shop, asked: tuple[str, ...], who: str, patch: Body, said: str) -> None:
    assert said in shop.accounts[who].patch(asked, patch).message


def test_who_may_patch_but_not_approve_is_told_so(shop: Shop) -> None:
    """Finance holds the verb for the refund tool alone."""
    other = shop.stored("approvals", approval(shop.run, tool="payments-charge"))
    said = shop.accounts["finance"].patch(other, decision()).message
    assert f"finance may not approve in {shop.namespace}; it takes the verb approve on approvals, or on" in said


def test_what_became_of_a_whole_run_takes_the_verb_for_every_tool(shop: Shop) -> None:
    """Finance holds the verb for the refund tool alone, and the question names none."""
    about = approval(shop.run, purpose="InDoubt")
    whole = about | {"spec": {key: it for key, it in about["spec"].items() if key not in ("step", "tool")}}
    asked = shop.stored("approvals", whole)
    said = shop.accounts["finance"].patch(asked, decision("Fail")).message
    assert (
        f"finance may not approve in {shop.namespace}; it takes the verb approve on approvals, or on all tool" in said
    )
    assert shop.accounts["alice"].patch(asked, decision("Fail")).body["spec"]["decision"]["by"] == ALICE


def test_a_decision_is_final(shop: Shop, asked: tuple[str, ...]) -> None:
    assert not shop.accounts["alice"].patch(asked, decision(), store=True).refused
    for who in ("alice", "approver", "admin"):
        for again in (decision("Reject"), decision(by="bob"), decision(reason="oh"), {"spec": {"decision": None}}):
            assert "already decided; a decision is final" in shop.accounts[who].patch(asked, again).message


def test_what_is_not_asked_any_more_takes_no_decision(shop: Shop, asked: tuple[str, ...]) -> None:
    shop.accounts["operator"].patch((*asked, "status"), {"status": {"state": "Superseded"}}, store=True)
    for who in ("alice", "admin"):
        assert "this is not asked any more; its run is over" in shop.accounts[who].patch(asked, decision()).message


def test_a_decision_is_applied_from_a_manifest_too(shop: Shop, asked: tuple[str, ...]) -> None:
    notes = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}
    assert not shop.accounts["alice"].patch(asked, decision() | {"metadata": notes}).refused


def test_a_decision_that_nobody_has_read_cannot_be_deleted(shop: Shop, asked: tuple[str, ...]) -> None:
    admin, operator = shop.accounts["admin"], shop.accounts["operator"]
    shop.accounts["alice"].patch(asked, decision(), store=True)
    assert "this decision is not recorded yet" in admin.delete(asked).message
    assert not operator.patch((*asked, "status"), {"status": {"state": "Approved"}}, store=True).refused
    assert not admin.delete(asked).refused


def test_an_approval_is_born_undecided_even_to_the_operator(shop: Shop) -> None:
    for by in (ALICE, OPERATOR):
        forged = approval(shop.run, decision={"verdict": "Approve", "by": by})
        answer = shop.accounts["operator"].create(shop.at("approvals"), forged)
        assert "'decisions.agentrun.dev' denied request: an Approval is born undecided" in answer.message


def test_the_garbage_collector_can_do_its_work(shop: Shop, asked: tuple[str, ...]) -> None:
    """It deletes what a deleted run owned, or with --cascade=orphan takes the owner away."""
    collector = shop.as_person(COLLECTOR)
    shop.accounts["alice"].patch(asked, decision(), store=True)
    assert not collector.patch(asked, OWNERLESS).refused
    assert not collector.delete(asked).refused


def test_who_starts_a_run_is_written_by_the_api_server(shop: Shop) -> None:
    author = f"system:serviceaccount:{shop.namespace}:author"
    for claimed in ({}, {"requestedBy": ALICE}):
        run = shop.accounts["author"].create(shop.at("agentruns"), agentrun(**claimed))
        assert run.body["spec"]["requestedBy"] == author


def test_who_started_a_run_is_kept_whatever_is_put_in_its_place(shop: Shop) -> None:
    author = f"system:serviceaccount:{shop.namespace}:author"
    run = shop.stored("agentruns", agentrun(), by="author")
    for claimed in (None, ALICE):
        answer = shop.accounts["admin"].patch(run, {"spec": {"requestedBy": claimed}}, store=True)
        assert answer.body["spec"]["requestedBy"] == author


@pytest.mark.parametrize("spec", [None, "refund", {}])
def test_a_run_without_steps_is_refused_for_that_and_nothing_else(shop: Shop, spec: Any) -> None:
    message = shop.accounts["author"].create(shop.at("agentruns"), agentrun() | {"spec": spec}).message
    assert "Required value" in message or 'spec in body must be of type object: "string"' in message
    assert "Policy" not in message


@pytest.mark.parametrize(
    ("who", "change", "said"),
    [
        ("toolowner", {"env": [secret("payments")]}, "spec.env names secrets/payments, which system:serviceaccount:"),
        ("keeper", {"env": [secret("payments")]}, ""),
        ("keeper", {"env": [secret("payments"), secret("payments", "configMap")]}, ""),
        ("keeper", {"env": [secret("payments"), secret("payroll")]}, "spec.env names secrets/payroll"),
        ("keeper", {"env": [secret("settings", "configMap")]}, "spec.env names configmaps/settings"),
        ("admin", {"env": [secret(f"s-{n}") for n in range(16)]}, ""),
        ("admin", {"env": [secret(f"s-{n}") for n in range(17)]}, "more than 16 different Secrets and ConfigMaps"),
        ("admin", {"env": [secret("s") | {"name": f"S{n}"} for n in range(64)]}, ""),
        ("toolowner", {"env": [{"name": "URL", "value": "https://registry.example"}]}, ""),
        ("toolowner", {"image": "registry.example/refund:1"}, "spec.image must end in a digest (NAME@sha256:...)"),
    ],
)
def test_who_offers_a_tool_may_read_what_it_reads(shop: Shop, who: str, change: Body, said: str) -> None:
    answer = shop.accounts[who].create(shop.at("tools"), tool(**change))
    assert said in answer.message
    assert answer.refused == bool(said)


def test_a_tool_is_not_turned_against_the_secret_it_has(shop: Shop) -> None:
    """A tool owner who may not read the Secret could otherwise have another program print it."""
    place = shop.stored("tools", tool(env=[secret("payments")]), by="keeper")
    toolowner = shop.accounts["toolowner"]
    assert "spec.env names secrets/payments" in toolowner.patch(place, {"spec": {"command": ["env"]}}).message
    assert not toolowner.patch(place, {"metadata": {"labels": {"team": "payments"}}}).refused
