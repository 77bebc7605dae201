"""Detection: foci that enhance more than the muscle around them.

Three steps: places that stand out (`proposals`), what they look like (`traits`), and how much that looks like a focus,
on a scale of false marks (`ranking`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from node.analysis.grid import box_around, whole
from node.analysis.proposals import measure_excess, propose
from node.analysis.ranking import Ranking, shipped_ranking
from node.analysis.traits import traits
from node.ports import Array, Candidate, Mask

_MARGIN_MM = 6.0  # around the muscle, for what is compared across its border
_LEAST_SCORE = 1 / 8  # eight false marks in a lesion-free volume: nobody wants to see more


@dataclass(frozen=True, slots=True)
class MultiscaleDetector:
    """Marks foci; a score of 2 says that a lesion-free volume has half a mark as good or better.

    That is so on the simulated contrast that the scale was made with, and for volumes of about the size of that.
    """

    name: str = "multiscale"
    ranking: Ranking = field(default_factory=shipped_ranking)
    least_score: float = _LEAST_SCORE

    @property
    def version(self) -> str:
        return self.ranking.version

    def detect(
        self, pre: Array, post: Array, muscle: Mask, *, spacing_mm: tuple[float, float, float], residual_mm: float
    ) -> Sequence[Candidate]:
        """Return candidates, best first; no two share a voxel."""
        if not muscle.any():
            return ()
        box = box_around(muscle, spacing_mm, _MARGIN_MM)
        excess = measure_excess(pre[box], post[box], muscle[box], spacing_mm, residual_mm)
        if excess is None:
            return ()
        found = []
        for proposal in propose(excess):
            score = self.ranking.score(self.ranking.evidence(traits(excess, proposal)), spacing_mm[0])
            if score >= self.least_score:
                region = whole(proposal.box, proposal.region, excess.above.shape)
                found.append(Candidate(whole(box, region, muscle.shape), score))
        return _apart(sorted(found, key=lambda one: -one.score))


def _apart(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates without those that share a voxel with a better one."""
    if not candidates:
        return ()
    taken = np.zeros(candidates[0].region.shape, bool)
    kept = []
    for candidate in candidates:
        if not (taken & candidate.region).any():
            kept.append(candidate)
            taken |= candidate.region
    return kept
