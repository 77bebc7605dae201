"""Roles: what each stack of a study is, by the rule table; and which T1-weighted ones are before contrast, which after.

The table looks at one stack. Contrast is decided across the study: by the stack's own bolus time, then by agent and
order in time, the description last; the pixels have the last word in the analysis (ROLE-CONTRAST). Where two of them
disagree nothing is guessed: the stack is contradictory, and no pair is made of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from node.completion.facts import StackFacts
from node.completion.table import RoleTable
from node.records import Confidence, Contrast, RoleDecision, SeriesRole, StackKey

# Of these it is asked whether they were acquired before or after contrast. Fat and opposed-phase images are not
# measured: fat takes up next to nothing, and what opposed phase shows is not one signal.
ASKED = frozenset(
    {
        SeriesRole.AXIAL_T1, SeriesRole.SAGITTAL_T1, SeriesRole.CORONAL_T1,
        SeriesRole.DIXON_WATER, SeriesRole.DIXON_IN_PHASE,
    }
)  # fmt: skip
_INJECTED_DURING = frozenset({SeriesRole.DYNAMIC, SeriesRole.MRV_CE})
_ORDER = (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)
_LONGEST_EVIDENCE = 400  # characters; a table with many conditions would fill a screen


@dataclass(frozen=True, slots=True)
class _Answer:
    contrast: Contrast
    confidence: Confidence
    evidence: str


def decide_roles(study: Sequence[StackFacts], table: RoleTable) -> dict[StackKey, RoleDecision]:
    """Return the role of each stack of a study."""
    decisions = {facts.key: _by_table(facts, table) for facts in study}
    asked = [facts for facts in study if decisions[facts.key].role in ASKED]
    during = [facts for facts in study if decisions[facts.key].role in _INJECTED_DURING]
    for key, answer in _contrast(asked, during, table).items():
        decisions[key] = _with_contrast(decisions[key], answer)
    return decisions


def _by_table(facts: StackFacts, table: RoleTable) -> RoleDecision:
    suppressed = facts.acquisition.fat_suppressed
    won = table.first(facts)
    if won is None:
        return RoleDecision(SeriesRole.OTHER, "no rule of the table holds", fat_suppressed=suppressed, table=table.name)
    found = ", ".join(dict.fromkeys((*won.check.reasons(), *_phase(facts))))
    evidence = f"{won.rule.reason}: {found}" if found else won.rule.reason
    return RoleDecision(
        role=won.rule.role,
        evidence=evidence[:_LONGEST_EVIDENCE],
        rule=won.rule.name,
        confidence=won.rule.confidence,
        fat_suppressed=suppressed,
        table=table.name,
    )


def _phase(facts: StackFacts) -> Iterator[str]:
    if facts.phases:
        yield f"number {facts.phases.index(facts.key) + 1} of them, a series each"


def _with_contrast(decision: RoleDecision, answer: _Answer) -> RoleDecision:
    return replace(
        decision,
        evidence=f"{decision.evidence}; {answer.evidence}",
        confidence=max(decision.confidence, answer.confidence, key=_ORDER.index),
        contrast=answer.contrast,
    )


# ---------------------------------------------------------------- contrast, across the study


def _contrast(asked: Sequence[StackFacts], during: Sequence[StackFacts], table: RoleTable) -> dict[StackKey, _Answer]:
    boluses = [one.acquisition.bolus_at_s for one in (*asked, *during) if one.acquisition.bolus_at_s is not None]
    bolus_s = min(boluses, default=None)
    first = {facts.key: _by_itself(facts, bolus_s, table) for facts in asked}
    given_by_s = _given_by_s(asked, during, first)
    return {facts.key: _by_order(facts, first[facts.key], given_by_s, table) for facts in asked}


def _by_itself(facts: StackFacts, bolus_s: float | None, table: RoleTable) -> _Answer | None:
    """Return what bolus, agent and description say of one stack; None where they say nothing.

    `bolus_s` is the earliest bolus that any stack of the study states.
    """
    acquisition = facts.acquisition
    said_pre, said_post = table.holds("says-pre", facts), table.holds("says-post", facts)
    acquired_s, own_bolus_s = acquisition.acquired_at_s, acquisition.bolus_at_s
    if acquired_s is not None and own_bolus_s is not None:
        minutes = (acquired_s - own_bolus_s) / 60
        if minutes < 0:  # the agent is named, and was given afterwards
            return _unless(said_post and not said_pre, Contrast.PRE, f"acquired {-minutes:.1f} min before the bolus")
        return _unless(said_pre, Contrast.POST, f"acquired {minutes:.1f} min after the bolus")
    if acquired_s is not None and bolus_s is not None:
        minutes = (acquired_s - bolus_s) / 60
        if minutes < 0:
            text = f"acquired {-minutes:.1f} min before the bolus that another series states"
            return _unless(said_post or acquisition.contrast_agent, Contrast.PRE, text)
        text = f"acquired {minutes:.1f} min after the bolus that another series states"
        return _unless(said_pre, Contrast.POST, text)
    if said_pre and (said_post or acquisition.contrast_agent):
        return _contradiction("described as before contrast, yet contrast is named too")
    if acquisition.contrast_agent:
        return _Answer(Contrast.POST, Confidence.HIGH, "contrast agent named")
    if said_post:
        return _Answer(Contrast.POST, Confidence.LOW, "description says after contrast")
    return None


def _given_by_s(
    asked: Iterable[StackFacts], during: Iterable[StackFacts], first: dict[StackKey, _Answer | None]
) -> tuple[bool, float | None]:
    """Return whether contrast was given at all, and by when at the latest, as far as that is known."""
    after = [facts for facts in asked if (answer := first[facts.key]) and answer.contrast is Contrast.POST]
    # A dynamic series may begin before the injection: only its last time point is surely after it.
    last = {
        facts.phases or facts.series: facts
        for facts in sorted(during, key=_acquired_s)
        if facts.acquisition.contrast_agent
    }
    evidence = [*after, *last.values()]
    moments = [one.acquisition.acquired_at_s for one in evidence if one.acquisition.acquired_at_s is not None]
    return bool(evidence), min(moments, default=None)


def _acquired_s(facts: StackFacts) -> float:
    return facts.acquisition.acquired_at_s or 0.0


def _by_order(facts: StackFacts, first: _Answer | None, given: tuple[bool, float | None], table: RoleTable) -> _Answer:
    """Return what is decided of one stack when it is known which others are after contrast."""
    if first is not None:
        return first
    was_given, given_by_s = given
    acquired_s = facts.acquisition.acquired_at_s
    said_pre = table.holds("says-pre", facts)
    said = "description says before contrast" if said_pre else "no contrast agent named"
    if not was_given:
        return _Answer(Contrast.PRE, Confidence.MEDIUM, f"{said}, nor in any series of the study")
    if acquired_s is None or given_by_s is None:
        if said_pre:
            return _Answer(Contrast.PRE, Confidence.LOW, said)
        return _contradiction("no contrast agent named, and no time that tells whether it was given before")
    if acquired_s < given_by_s:
        return _Answer(Contrast.PRE, Confidence.MEDIUM, f"{said}, and acquired before the first series with contrast")
    if said_pre:
        return _contradiction("described as before contrast, yet acquired after a series with contrast")
    return _Answer(
        Contrast.POST, Confidence.MEDIUM, "no contrast agent named, but acquired after a series with contrast"
    )


def _unless(contradicted: bool, contrast: Contrast, text: str) -> _Answer:
    if contradicted:
        return _contradiction(f"{text}, yet agent or description say the contrary")
    return _Answer(contrast, Confidence.HIGH, text)


def _contradiction(text: str) -> _Answer:
    return _Answer(Contrast.CONTRADICTORY, Confidence.LOW, f"ROLE-CONTRAST: {text}")
