"""Roles: which series is pre, post, MRV, localizer or none of these, with the header facts that say so.

Physics attributes come before orientation, orientation before the description; Body Part Examined is never asked.
Evidence is made of our own words and numbers only, because it is shown and logged: no text of a header is in it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from pydicom.dataset import Dataset

from node.dicom.headers import Acquisition, read_acquisition
from node.dicom.identifiers import SeriesUID
from node.records import Role, RoleDecision

# A T1-weighted spin echo has TR 300-900 and TE below 30 ms, a gradient echo for it TE below 10 ms: common practice,
# with a margin; not from the Standard.
_LONGEST_T1_SPIN_ECHO_TR_MS = 1000.0
_LONGEST_T1_SPIN_ECHO_TE_MS = 30.0
_LONGEST_T1_GRADIENT_ECHO_TE_MS = 10.0
# 2D time of flight for veins (docs/analysis.md, MRV): TR 15-40 ms, flip angle 35-70 degrees, flow compensation.
_TIME_OF_FLIGHT_TR_MS = (15.0, 40.0)
_TIME_OF_FLIGHT_FLIP_DEG = (35.0, 70.0)

_HEADERS_READ = 9
_T = TypeVar("_T")

_LOCALIZER = re.compile(r"(?<![a-z])(loc|localizer|localiser|scout|survey|plan|3[- ]?pl(ane)?)(?![a-z])", re.I)
_MRV = re.compile(r"(?<![a-z])(mrv|venogra\w*|2d[ _-]?tof|tof|twist|tricks|qiss)(?![a-z])", re.I)
_POST = re.compile(r"(?<![a-z])(post|gd|gad\w*|contrast|km|ce|\+ ?c|c ?\+)(?![a-z])", re.I)
_PRE = re.compile(r"(?<![a-z])(pre|nativ\w*|without|w/?o|ohne|non)([-_ ]*(contrast|gad\w*|gd|km))?(?![a-z])", re.I)
_T1 = re.compile(r"(?<![a-z])t1(?![0-9])", re.I)


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the headers of one series say; `planes` counts the different slice orientations among them."""

    series: SeriesUID
    acquisition: Acquisition
    instances: int
    planes: int


def sample(instances: Sequence[_T]) -> list[_T]:
    """Return some of a series' instances, evenly spread: enough to see the planes of a localizer.

    Node and folder must take the same ones, so give them in the order of their SOP Instance UIDs.
    """
    places = sorted({round(place) for place in np.linspace(0, len(instances) - 1, _HEADERS_READ)}) if instances else []
    return [instances[place] for place in places]


def read_facts(series: SeriesUID, headers: Sequence[Dataset], *, instances: int) -> SeriesFacts:
    """Return the facts of a series from a `sample` of its headers; `instances` is how many it has in all."""
    acquisitions = [read_acquisition(header) for header in headers]
    planes = {tuple(np.round(one.orientation, 2)) for one in acquisitions if one.orientation}
    moments = [one.acquired_at_s for one in acquisitions if one.acquired_at_s is not None]
    first = replace(acquisitions[0], acquired_at_s=min(moments, default=None))
    return SeriesFacts(series, first, instances, len(planes))


def decide_roles(study: Sequence[SeriesFacts]) -> dict[SeriesUID, RoleDecision]:
    """Return the role of each series of a study."""
    return {facts.series: _role(facts) for facts in study}


def _role(facts: SeriesFacts) -> RoleDecision:
    acquisition = facts.acquisition
    if acquisition.modality != "MR":
        return RoleDecision(Role.OTHER, "modality is not MR")
    if not acquisition.orientation or min(acquisition.pixel_spacing_mm, default=0.0) <= 0:
        return RoleDecision(Role.OTHER, "no orientation or pixel spacing")
    if "LOCALIZER" in acquisition.image_type or _LOCALIZER.search(acquisition.description):
        return RoleDecision(Role.LOCALIZER, "image type or description says localizer")
    if facts.planes > 1:
        return RoleDecision(Role.LOCALIZER, f"{facts.planes} slice orientations in one series")
    if acquisition.derived:
        return RoleDecision(Role.OTHER, "image type says derived")
    if acquisition.lossy:
        return RoleDecision(Role.OTHER, "lossy compressed")
    venography = _venography(acquisition)
    if venography:
        return RoleDecision(Role.MRV, venography)
    weighting = _t1_weighting(acquisition)
    if not weighting:
        return RoleDecision(Role.OTHER, "not T1-weighted by sequence, TR and TE")
    if acquisition.dixon_part in ("fat", "opposed-phase"):
        return RoleDecision(Role.OTHER, f"Dixon {acquisition.dixon_part} image")
    return _contrast(acquisition, weighting)


def _venography(acquisition: Acquisition) -> str:
    if acquisition.angiography:
        return "Angio Flag is Y"
    tr, flip = acquisition.repetition_time_ms, acquisition.flip_angle_deg
    if (
        "GR" in acquisition.scanning_sequence
        and acquisition.acquisition_type == "2D"
        and "FC" in acquisition.scan_options
        and tr is not None
        and flip is not None
        and _TIME_OF_FLIGHT_TR_MS[0] <= tr <= _TIME_OF_FLIGHT_TR_MS[1]
        and _TIME_OF_FLIGHT_FLIP_DEG[0] <= flip <= _TIME_OF_FLIGHT_FLIP_DEG[1]
    ):
        return f"2D gradient echo with flow compensation, TR {tr:g} ms, flip angle {flip:g} degrees"
    if _MRV.search(acquisition.description):
        return "description says venography"
    return ""


def _t1_weighting(acquisition: Acquisition) -> str:
    """Return why the series is T1-weighted, or "" if it is not."""
    tr, te = acquisition.repetition_time_ms, acquisition.echo_time_ms
    if acquisition.scanning_sequence & {"EP", "IR"} or acquisition.inversion_time_ms:
        return ""
    if tr is None or te is None:
        return "description says T1" if _T1.search(acquisition.description) else ""
    if "SE" in acquisition.scanning_sequence:
        fits = tr <= _LONGEST_T1_SPIN_ECHO_TR_MS and te <= _LONGEST_T1_SPIN_ECHO_TE_MS
        return f"spin echo, TR {tr:g} ms, TE {te:g} ms" if fits else ""
    if "GR" in acquisition.scanning_sequence:
        fits = "SP" in acquisition.sequence_variant or bool(_T1.search(acquisition.description))
        fits = fits and te <= _LONGEST_T1_GRADIENT_ECHO_TE_MS
        return f"spoiled gradient echo, TR {tr:g} ms, TE {te:g} ms" if fits else ""
    return "description says T1" if _T1.search(acquisition.description) else ""


def _contrast(acquisition: Acquisition, weighting: str) -> RoleDecision:
    """Return pre or post for a T1-weighted series; other where its header contradicts itself."""
    acquired, bolus = acquisition.acquired_at_s, acquisition.bolus_at_s
    if acquired is not None and bolus is not None and acquired < bolus:
        return RoleDecision(Role.PRE, f"{weighting}; acquired before the bolus")
    said_post = bool(_POST.search(_PRE.sub("", acquisition.description)))
    said_pre = bool(_PRE.search(acquisition.description))
    if said_pre and (said_post or acquisition.contrast_agent):
        return RoleDecision(Role.OTHER, f"{weighting}; described as pre-contrast, yet contrast is named too")
    if acquisition.contrast_agent:
        return RoleDecision(Role.POST, f"{weighting}; contrast agent named")
    if said_post:
        return RoleDecision(Role.POST, f"{weighting}; description says contrast")
    return RoleDecision(Role.PRE, f"{weighting}; no contrast agent named")
