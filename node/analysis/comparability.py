"""Comparability: may two series be subtracted? Decided by headers, before any voxel is looked at (CMP-*).

What is checked, and with which limits, stands in `dicom.comparison`, which completion asks as well. What headers leave
open, whether two series without a common frame of reference show one place, is asked again after registration.
"""

from dataclasses import replace

from node.analysis.grid import Grid
from node.analysis.pairing import Pair
from node.analysis.verdict import Verdict, gate
from node.dicom.comparison import CAVEATS, CODES, differences
from node.dicom.headers import Acquisition
from node.dicom.volumes import Volume

_USUAL_DELAY_MIN = (1.0, 15.0)  # from bolus to acquisition; docs/analysis.md; chosen, nobody has measured it
_WANTED = {"CMP-FOR": "one frame of reference", "CMP-TIME": "post after pre"}


def check_comparable(pre: Volume, post: Volume) -> Verdict:
    """Return what forbids, or weakens, the comparison of `pre` with `post`. What neither header states is let pass."""
    spacing_mm = (pre.geometry.spacing_mm[0], post.geometry.spacing_mm[0])
    found = differences(_as_placed(pre), _as_placed(post), slice_spacing_mm=spacing_mm, scales=(pre.scale, post.scale))
    verdict = Verdict()
    for code, refusal in CODES.items():
        here = [one for one in found if one.code == code]
        wanted = _WANTED.get(code, "equal")
        said = "; ".join(one.text for one in here) or wanted
        if all(one.weakens for one in here):
            verdict += gate(code, said, wanted, not here, caveat=CAVEATS.get(code, ""))
        else:
            verdict += gate(code, said, wanted, passed=False, refusal=refusal)
    return verdict + _check_delay(post.acquisition)


def check_joined(pre: Grid, post: Grid, fitted: Pair) -> Verdict:
    """Return whether registration has joined two series without a common frame of reference (CMP-FOR).

    Nothing but the images says then how the two lie to each other, or that they show one place: so all of REG-1 to
    REG-4 must hold, of which two are else asked for foci only.
    """
    here, there = post.geometry.frame_of_reference, pre.geometry.frame_of_reference
    if here and here == there:
        return Verdict()
    failed = [one.code for one in (*fitted.verdict.gates, *fitted.focal.gates) if not one.passed]
    return gate(
        "CMP-FOR", f"not joined: {', '.join(failed)}" if failed else "joined", "joined by registration", not failed,
        refusal=f"{CODES['CMP-FOR']} Registration does not join them.",
    )  # fmt: skip


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
