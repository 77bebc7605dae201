"""Triggers: what says that a series, and then a study, is whole. Pure.

Nothing in DICOM says so for good. What there is: the scanner's own word (MPPS), how many instances an archive has
(C-FIND), what headers count, gaps between slices, and silence. Each says how long the silence must last: a moment where
the scanner has ended and all it lists is here, long where something is known to be missing, else as long as the sender
may pause. So no study waits for ever, and what closed it is written down.
"""

from dataclasses import dataclass

from node.dicom.performed import StepState
from node.ledger.gathering import GatheringStudy
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
        quiet_s = needed_quiet_s(series, self.settings)
        if now - series.last_seen_s < quiet_s:
            return None
        counted = sorted(one.source for one in series.expected if _agrees(one, series.instances))
        said = f", as many as {' and '.join(counted)} counts" if counted else ""
        fault = f"; incomplete: {missing}" if missing else ""
        return f"{series.instances} instances{said}, then quiet for {quiet_s:g} s{fault}"


def quiet_period_of(series: SeriesProgress, settings: CompletionSettings) -> float:
    """Return how long, in seconds, those who sent a series may pause: the longest of theirs."""
    own = {one.ae_title: one.quiet_period_s for one in settings.sender}
    return max((own.get(sender, settings.quiet_period_s) for sender in series.senders), default=settings.quiet_period_s)


def needed_quiet_s(series: SeriesProgress, settings: CompletionSettings) -> float:
    """Return for how long, in seconds, nothing of a series must come until it counts as whole."""
    quiet_s = quiet_period_of(series, settings)
    if missing_of(series):
        return max(quiet_s, settings.incomplete_after_s)
    if any(one.source == MPPS for one in series.expected):
        return min(quiet_s, settings.ended_quiet_period_s)
    return quiet_s


def missing_of(series: SeriesProgress) -> str:
    """Return what is known to be missing of a series; "" if nothing is."""
    said = [_short(one, series.instances) for one in series.expected if one.lacks(series.instances)]
    return "; ".join([*said, *filter(None, [series.lacking])])


def missing_of_study(study: GatheringStudy) -> str:
    """Return what is known to be missing of a study beside what its series lack; "" if nothing is.

    That the modality still works at it, series of which no instance is here, more instances in all, or earlier results
    that an archive sends to compare with.
    """
    here = sum(one.instances for one in study.series)
    said = ["MPPS in progress"] if StepState.IN_PROGRESS in study.steps else []
    said += [f"a series of {one.instances} by {one.source} of which none is here" for one in study.absent]
    said += [_short(one, here) for one in study.expected if one.instances > here]
    said += [f"{study.coming} series of earlier results, asked of an archive"] if study.coming else []
    return "; ".join(said)


def study_evidence(study: GatheringStudy, settings: CompletionSettings, *, now: float) -> str:
    """Return what says that no further series of a study comes; "" while there may be one. `now` since 1970."""
    said, quiet_s = _of_study(study, settings)
    return f"{said}; quiet for {quiet_s:g} s" if now - _last_seen_s(study) >= quiet_s else ""


def waiting_of(study: GatheringStudy, settings: CompletionSettings, *, now: float) -> str:
    """Return how long a study and all its series have been quiet, and must be: what it waits for longest.

    `now` is in seconds since 1970. A study that has been quiet long enough may wait for other things, such as roles.
    """
    waits = [(_last_seen_s(study), _of_study(study, settings)[1])]
    waits += [(one.last_seen_s, needed_quiet_s(one, settings)) for one in study.series]
    last_seen_s, needed_s = max(waits, key=lambda one: one[0] + one[1])
    return f"quiet for {max(0.0, min(now - last_seen_s, needed_s)):.0f} of {needed_s:g} s"


def _last_seen_s(study: GatheringStudy) -> float:
    return max(one.last_seen_s for one in study.series)


def _of_study(study: GatheringStudy, settings: CompletionSettings) -> tuple[str, float]:
    """Return what is known of whether further series of a study come, and how long it must be quiet for that."""
    missing = missing_of_study(study)
    ended = study.steps and any(one.source == MPPS for series in study.series for one in series.expected)
    said, quiet_s = "nothing new", max(quiet_period_of(one, settings) for one in study.series)
    if missing:
        quiet_s, said = max(quiet_s, settings.incomplete_after_s), f"incomplete: {missing}"
    elif ended:
        quiet_s, said = min(quiet_s, settings.ended_quiet_period_s), "MPPS ended, and all it lists is here"
    return said, quiet_s


def _agrees(expectation: Expectation, here: int) -> bool:
    return not expectation.missing if expectation.missing is not None else expectation.instances == here


def _short(expectation: Expectation, here: int) -> str:
    if expectation.missing is None:
        return f"{here} of {expectation.instances} by {expectation.source}"
    arrived = expectation.instances - expectation.missing
    return f"{arrived} of the {expectation.instances} that {expectation.source} names"
