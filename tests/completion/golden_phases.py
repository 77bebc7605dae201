"""Split dynamics: time points that came as a series each, as scanners and archives of five makers write them.

What tells the time points apart, and how descriptions number them, follows the makers' conventions as far as we know
them: no split export of a real scanner was at hand. Each is written down with which series are its time points.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tests.completion.golden import (
    GD,
    LAVA,
    QUICK3D,
    THRIVE,
    VIBE,
    M,
    Series,
    Study,
    Truth,
    dixon,
)  # fmt: skip

POINTS, STEP_S = 6, 12.0
_UIH_GRE = VIBE | M | {"SequenceName": "gre_fsp", "RepetitionTime": 3.9}

More = Callable[[int], dict[str, Any]]


def _agent_from(point: int) -> More:
    return lambda number: GD if number >= point else {}


def _numbered(number: int) -> dict[str, Any]:
    return {"TemporalPositionIdentifier": number + 1, "NumberOfTemporalPositions": POINTS}


def _split(
    vendor: str,
    name: str,
    physics: dict[str, Any],
    description: Callable[[int], str],
    more: More = lambda number: {},
    *,
    at_once: bool = False,
) -> Study:
    """Return a study of nothing but the time points of one dynamic; `at_once`: they bear one Acquisition Time."""
    return Study(name, vendor, "dynamic series alone", tuple(
        Series(
            "dynamic", "axial", description(number), physics, 0.0 if at_once else number * STEP_S / 60,
            Truth(name, None), more(number),
        )
        for number in range(POINTS)
    ))  # fmt: skip


def _dixon_parts() -> Iterator[Series]:
    """Yield the four parts of each time point of a VIBE Dixon, a series each."""
    parts = {"WATER": ("W", True), "FAT": ("F", True), "IN_PHASE": ("in", False), "OPP_PHASE": ("opp", False)}
    for number in range(POINTS):
        for word, (short, derived) in parts.items():
            label = {"F": "Dixon fat", "opp": "Dixon opposed-phase"}.get(short, "dynamic")
            yield Series(
                label, "axial", f"t1_vibe_dixon_tra_dyn_{short}", dixon(word, derived=derived), number * STEP_S / 60,
                Truth(f"siemens-dixon-{word}", None), _agent_from(2)(number),
            )  # fmt: skip


def _with_subtractions() -> Iterator[Series]:
    """Yield each time point, and what the console made of it and the first one, at the same moment."""
    for number in range(POINTS):
        at_min, truth = number * STEP_S / 60, Truth("siemens-subtracted", None)
        more = GD | {"AcquisitionNumber": number + 1}
        yield Series("dynamic", "axial", "t1_fl3d_tra_dyn", VIBE, at_min, truth, more)
        subtracted = more | {"ImageType": ["DERIVED", "PRIMARY", "M", "ND", "NORM", "SUB"]}
        yield Series("derived", "axial", "t1_fl3d_tra_dyn_SUB", VIBE, at_min, Truth("", None), subtracted)


SPLIT = (
    # One measurement of the protocol after the other, the agent entered once for all of them.
    _split("siemens", "siemens-vibe", VIBE, lambda number: "t1_vibe_tra_dyn", lambda number: GD | {
        "AcquisitionNumber": number + 1,
    }),
    # Six starts of one protocol, the agent entered after the second.
    _split("siemens", "siemens-vibe-restarted", VIBE, lambda number: f"t1_vibe_fs_tra_{number + 1}", lambda number: (
        _agent_from(2)(number) | {"ScanOptions": "FS"}
    )),
    Study("siemens-subtracted", "siemens", "dynamic series alone", tuple(_with_subtractions())),
    Study("siemens-dixon", "siemens", "dynamic series alone", tuple(_dixon_parts())),
    _split("philips", "philips-thrive", THRIVE, lambda number: f"dyn_THRIVE_{number + 1}", lambda number: (
        GD | _numbered(number)
    )),
    # An archive took the dynamics apart: one Acquisition Time, and what tells when each was acquired is the rate.
    _split("philips", "philips-reconstructed", THRIVE, lambda number: "THRIVE dyn SENSE", lambda number: (
        _numbered(number) | {"TemporalResolution": 1000 * STEP_S}
    ), at_once=True),
    _split("ge", "ge-lava", LAVA, lambda number: f"PH{number + 1}/{POINTS}: Ax LAVA +C", lambda number: (
        {"ContrastBolusAgent": "Gad", "TriggerTime": 1000 * STEP_S * number} | _numbered(number)
    ), at_once=True),
    _split("ge", "ge-lava-restarted", LAVA, lambda number: f"Ax LAVA ph{number + 1}", _agent_from(1)),
    _split("canon", "canon-quick3d", QUICK3D, lambda number: f"AX T1 QUICK3D PH{number + 1}", _numbered),
    _split("uih", "uih-gre", _UIH_GRE, lambda number: f"t1_gre_fsp_3d_tra_dyn_ph{number + 1}", _agent_from(1)),
)  # fmt: skip

# One of these of one time point is another, and it is no time point of the dynamic any more.
DAMAGES: dict[str, dict[str, Any]] = {
    "TR": {"RepetitionTime": 4.9},
    "no TR": {"RepetitionTime": None},
    "TE": {"EchoTime": 1.1},
    "no TE": {"EchoTime": None},
    "flip angle": {"FlipAngle": 15},
    "inversion time": {"InversionTime": 20},
    "echo train": {"EchoTrainLength": 33},
    "bandwidth": {"PixelBandwidth": 250},
    "field": {"MagneticFieldStrength": 3},
    "coil": {"ReceiveCoilName": "BODY"},
    "2D": {"MRAcquisitionType": "2D"},
    "spin echo": {"ScanningSequence": "SE"},
    "sequence variant": {"SequenceVariant": ["SS", "OSP"]},
    "scan options": {"ScanOptions": ["PFP"]},
    "sequence": {"SequenceName": "*fl3d2"},
    "subtraction": {"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION", "M"]},
    "MIP": {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "CSA MIP"]},
    "filtered": {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "FM"]},
    "phase": {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    "MIP, said in words": {"SeriesDescription": "dyn MIP"},
    "scout": {"SeriesDescription": "localizer"},
    "lossy": {"LossyImageCompression": "01"},
    "diffusion": {"DiffusionBValue": 50.0},
    "frame of reference": {"FrameOfReferenceUID": "2.25.77"},
    "no frame of reference": {"FrameOfReferenceUID": None},
    "pixel spacing": {"PixelSpacing": [1.1, 1.1]},
    "matrix": {"Rows": 7},
    "slice thickness": {"SliceThickness": 5.0},
    "orientation": {"ImageOrientationPatient": [1, 0, 0, 0, 0.999, 0.045]},
    "patient": {"PatientID": "OTHER"},
    "day": {"StudyDate": "20260103"},
    "another maker": {"Manufacturer": "OTHER"},
}
