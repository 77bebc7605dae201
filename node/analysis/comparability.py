"""Comparability: may two series be subtracted? Decided by headers alone, before any voxel is looked at (CMP-*).

What is checked, and with which limits, stands in `dicom.comparison`, which completion asks as well.
"""

from dataclasses import replace

from node.analysis.verdict import Verdict, gate
from node.dicom.comparison import CODES, differences
from node.dicom.headers import Acquisition
from node.dicom.volumes import Volume

_USUAL_DELAY_MIN = (1.0, 15.0)  # from bolus to acquisition; docs/analysis.md; chosen, nobody has measured it
_WANTED = {"CMP-FOR": "one frame of reference", "CMP-TIME": "post after pre"}


def check_comparable(pre: Volume, post: Volume) -> Verdict:
    """Return what forbids, or weakens, the comparison of `pre` with `post`. What neither header states is let pass."""
    spacing_mm = (pre.geometry.spacing_mm[0], post.geometry.spacing_mm[0])
    found = differences(_as_placed(pre), _as_placed(post), slice_spacing_mm=spacing_mm)
    verdict = Verdict()
    for code, refusal in CODES.items():
        texts = [one.text for one in found if one.code == code]
        wanted = _WANTED.get(code, "equal")
        verdict += gate(code, "; ".join(texts) or wanted, wanted, not texts, refusal=refusal)
    return verdict + _check_delay(post.acquisition)


def _as_placed(volume: Volume) -> Acquisition:
    """Return how a volume was acquired, with its place as its voxels have it."""
    geometry, directions = volume.geometry, volume.geometry.directions
    return replace(
        volume.acquisition,
        frame_of_reference=geometry.frame_of_reference,
        orientation=tuple(float(one) for one in (*directions[:, 2], *directions[:, 1])),
        pixel_spacing_mm=geometry.spacing_mm[1:],
    )


def _check_delay(after: Acquisition) -> Verdict:
    if after.acquired_at_s is None or after.bolus_at_s is None:
        return Verdict()
    delay = (after.acquired_at_s - after.bolus_at_s) / 60
    early, late = _USUAL_DELAY_MIN
    return gate(
        "CMP-TIME", f"{delay:.1f} min after the bolus", f"{early:g} to {late:g} min", early <= delay <= late,
        caveat="The time between bolus and acquisition is unusual, or its header value is wrong.",
    )  # fmt: skip
