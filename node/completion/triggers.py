"""Triggers: what says that a series is whole."""

from dataclasses import dataclass

from node.records import SeriesProgress


@dataclass(frozen=True, slots=True)
class QuietPeriod:
    """A series is whole when nothing of it has come for a while.

    Parameters
    ----------
    quiet_period_s : float
        How long; the ledger starts it anew when the node was away (`Ledger.excuse_outage`).
    """

    quiet_period_s: float

    @property
    def name(self) -> str:
        return "quiet-period"

    def evidence(self, series: SeriesProgress, *, now: float) -> str | None:
        """Return how long the series has been quiet, or None while that is not long enough."""
        quiet_s = now - series.last_seen_s
        if quiet_s < self.quiet_period_s:
            return None
        return f"{series.instances} instances, then quiet for {self.quiet_period_s:g} s"
