"""What an ensemble run has of its members as a table: model, slot and age, weight, accuracy on its items, contribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jobs.contract import slot_text
from scheduler.console.tables import Column, number
from scheduler.history.slots import LocalClock
from scheduler.results.contribution import Agreement, Contribution
from scheduler.results.ensemble_result import EnsembleResult, MemberResult
from scheduler.results.probabilities import DamagedResult
from scheduler.times import format_duration, format_local


def read_contributions(result: EnsembleResult) -> tuple[Mapping[str, Contribution], str]:
    """By member what it adds; and, in a line, why that of none is known: a file is not what the run wrote."""
    try:
        return result.contributions, ""
    except DamagedResult as error:
        return {}, str(error)


def read_agreement(result: EnsembleResult) -> Agreement | None:
    """Where the members disagree; None if that is not known, as of files that are not what the run wrote."""
    try:
        return result.agreement
    except DamagedResult:
        return None


def disagreement_rows(agreement: Agreement | None) -> tuple[list[Column], list[list[str]]]:
    """The table for people of the shares of items on which two members have different labels; no rows for a single member."""
    names = list(agreement.disagreements) if agreement is not None else []
    if agreement is None or len(names) < 2:
        return [], []
    columns = [Column("disagreement", is_name=True), *(Column(name, right=True) for name in names)]
    shares = agreement.disagreements
    rows = [[name, *("" if name == other else _percent(shares[name].get(other)) for other in names)] for name in names]
    return columns, rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def member_values(result: EnsembleResult, contributions: Mapping[str, Contribution]) -> list[dict[str, Any]]:
    """The members for programs; ``age`` in seconds, from the training's slot to the ensemble's."""
    return [
        {
            "member": member.member,
            "run": None if member.model is None else str(member.model),
            "slot": None if member.model is None else slot_text(member.model.minute),
            "age": _age(result, member),
            "weight": member.weight,
            "items_accuracy": member.accuracy,
            "items_loss": member.loss,
            "validation_accuracy": member.validation_accuracy,
            "contribution": asdict(contributions[member.member]) if member.member in contributions else None,
            "contribution_problem": member.contribution_problem,
            "left_out": member.left_out,
            "degraded": member.degraded,
        }
        for member in result.members
    ]


def member_columns(timezone: str) -> list[Column]:
    """The columns of the table for people."""
    return [
        Column("member", is_name=True),
        Column("model", rank=3),
        Column(f"slot ({timezone})"),
        Column("age", right=True, rank=2),
        Column("weight", right=True),
        Column("on items", right=True),
        Column("contribution", right=True),
        Column("labels changed", right=True, rank=4),
        Column("validation", right=True, rank=1),
        Column("note"),
    ]


def member_cells(result: EnsembleResult, contributions: Mapping[str, Contribution], timezone: str) -> list[list[str]]:
    """The rows of the table for people; the model without the experiment's name, its slot by the clock of ``timezone``."""
    clock = LocalClock(timezone)
    rows = []
    for member in result.members:
        model, age, contribution = member.model, _age(result, member), contributions.get(member.member)
        adds = None if contribution is None else contribution.accuracy
        rows.append(
            [
                member.member,
                "" if model is None else str(model).removeprefix(f"{model.experiment}-"),
                "" if model is None else format_local(clock.local(model.minute), timezone),
                "" if age is None else format_duration(age),
                number(member.weight, 3),
                number(member.accuracy),
                "" if adds is None else f"{adds:+.4f}",
                "" if contribution is None else str(contribution.labels_changed),
                number(member.validation_accuracy),
                _note(member),
            ]
        )
    return rows


def _age(result: EnsembleResult, member: MemberResult) -> int | None:
    return None if member.model is None else (result.run.id.minute - member.model.minute) * 60


def _note(member: MemberResult) -> str:
    if member.left_out:
        return f"left out: {member.left_out}"
    unknown = f"contribution unknown: {member.contribution_problem}" if member.contribution_problem else ""
    return "; ".join(filter(None, (f"degraded: {member.degraded}" if member.degraded else "", unknown)))


def calibration_line(result: EnsembleResult) -> str:
    """What the method `calibrated` has learnt, and what it changes on the validation items; empty for other methods."""
    found = result.calibration
    if not found:
        return ""
    temperature = number(found.get("temperature"))
    line = f"temperature {temperature} by {found.get('validation_items')} validation items"
    names = (("loss", "log loss"), ("calibration_error", "calibration error"))
    pairs = [(text, found.get(f"{name}_before"), found.get(f"{name}_after")) for name, text in names]
    changes = [f"{text} {before:.4f} → {after:.4f}" for text, before, after in pairs if before is not None and after is not None]
    return f"{line}; accuracy → calibrated, cross-fitted: {', '.join(changes)}" if changes else line
