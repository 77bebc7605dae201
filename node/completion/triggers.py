"""Triggers: what says that a series, and then a study, is whole. Pure.

Nothing in DICOM says so for good. What there is: the scanner's own word (MPPS), how many instances an archive has
(C-FIND), what headers count, gaps between slices, and silence. Each says how long the silence must last: a moment where
the scanner has ended and all it lists is here, long where something is known to be missing, else as long as the sender
may pause. So no study waits for ever, and what closed it is written down.
"""

from dataclasses import dataclass

from node.dicom.performed import StepState
from node.ledger.ledger import GatheringStudy
from node.records import MPPS, Expectation, SeriesProgress
from node.settings import CompletionSettings


@dataclass(frozen=True, slots=True)
class QuietPeriod:
    """A series is whole when nothing of it has come for a while; what others say of it decides for how long.

    Parameters
    ----------
    settings : CompletionSettings
        How long; the ledger starts it anew when the node was away (`Arrivals.excuse_outage`).
    """

    settings: CompletionSettings

    @property
    def name(self) -> str:
        return "quiet-period"

    def evidence(self, series: SeriesProgress, *, now: float) -> str | None:
        """Return how long the series has been quiet and what else is known, or None while that is not enough."""
        missing = missing_of(series)
        quiet_s = quiet_period_of(series, self.settings)
        if missing:
            quiet_s = max(quiet_s, self.settings.incomplete_after_s)
        elif any(one.source == MPPS for one in series.expected):
            quiet_s = min(quiet_s, self.settings.ended_quiet_period_s)
        if now - series.last_seen_s < quiet_s:
            return None
        counted = sorted(one.source for one in series.expected if one.instances == series.instances)
        said = f", as many as {' and '.join(counted)} counts" if counted else ""
        fault = f"; incomplete: {missing}" if missing else ""
        return f"{series.instances} instances{said}, then quiet for {quiet_s:g} s{fault}"


def quiet_period_of(series: SeriesProgress, settings: CompletionSettings) -> float:
    """Return how long, in seconds, those who sent a series may pause: the longest of theirs."""
    own = {one.ae_title: one.quiet_period_s for one in settings.sender}
    return max((own.get(sender, settings.quiet_period_s) for sender in series.senders), default=settings.quiet_period_s)


def missing_of(series: SeriesProgress) -> str:
    """Return what is known to be missing of a series; "" if nothing is."""
    said = [_short(one, series.instances) for one in series.expected if one.instances > series.instances]
    return "; ".join([*said, *filter(None, [series.lacking])])


def missing_of_study(study: GatheringStudy) -> str:
    """Return what is known to be missing of a study beside what its series lack; "" if nothing is.

    That the modality still works at it, series of which no instance is here, or more instances in all.
    """
    here = sum(one.instances for one in study.series)
    said = ["MPPS in progress"] if StepState.IN_PROGRESS in study.steps else []
    said += [f"a series of {one.instances} by {one.source} of which none is here" for one in study.absent]
    said += [_short(one, here) for one in study.expected if one.instances > here]
    return "; ".join(said)


def study_evidence(study: GatheringStudy, settings: CompletionSettings, *, now: float) -> str:
    """Return what says that no further series of a study comes; "" while there may be one. `now` since 1970."""
    missing = missing_of_study(study)
    ended = study.steps and any(one.source == MPPS for series in study.series for one in series.expected)
    said = "nothing new"
    quiet_s = max(quiet_period_of(one, settings) for one in study.series)
    if missing:
        quiet_s, said = max(quiet_s, settings.incomplete_after_s), f"incomplete: {missing}"
    elif ended:
        quiet_s, said = min(quiet_s, settings.ended_quiet_period_s), "MPPS ended, and all it lists is here"
    last_seen_s = max(one.last_seen_s for one in study.series)
    return f"{said}; quiet for {quiet_s:g} s" if now - last_seen_s >= quiet_s else ""


def _short(expectation: Expectation, here: int) -> str:
    return f"{here} of {expectation.instances} by {expectation.source}"
