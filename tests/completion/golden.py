"""The golden table: header sets as scanners of six makers write them, with the role that a radiographer would give.

Image Type, Scanning Sequence, Sequence Variant, Scan Options and descriptions follow the makers' conventions as seen in
public collections and conformance statements; timing is that of usual protocols. Expected labels were written down from
the convention, before the rules were run on them. `Truth` is what really was done, which headers may lie about.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydicom.dataset import Dataset

from node.simulator.multiframe import to_enhanced
from node.simulator.vendors import STYLES
from tests.builders import mr

AXIAL, SAGITTAL, CORONAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]
_NORMALS = {"axial": (0, 0, 1), "sagittal": (-1, 0, 0), "coronal": (0, 1, 0)}
_ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL}
_OTHER_MAKERS = {"uih": ("UIH", "uMR simulated", "SPINE"), "hitachi": ("Hitachi, Ltd.", "ECHELON simulated", "CTL")}
_SECONDS = 60.0

# ---------------------------------------------------------------- how sequences are written

SE = {"MRAcquisitionType": "2D", "ScanningSequence": "SE", "SequenceVariant": ["SK", "SP", "OSP"], "FlipAngle": 150}
GR3D = {"MRAcquisitionType": "3D", "ScanningSequence": "GR", "SequenceVariant": ["SP", "OSP"], "EchoTrainLength": 1}
M = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}
OTHER = {"ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
M_SE = {"ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]}
M_FFE = {"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]}

T1_TSE = SE | M | {"RepetitionTime": 620, "EchoTime": 11, "EchoTrainLength": 3, "SequenceName": "*tse2d1_3"}
T2_TSE = SE | M | {"RepetitionTime": 3500, "EchoTime": 98, "EchoTrainLength": 15, "SequenceName": "*tse2d1_15"}
TIRM = SE | M | {
    "ScanningSequence": ["SE", "IR"], "SequenceVariant": ["SK", "SP", "MP", "OSP"], "RepetitionTime": 4200,
    "EchoTime": 48, "InversionTime": 160, "EchoTrainLength": 11, "SequenceName": "*tir2d1_11",
}  # fmt: skip
VIBE = GR3D | M | {"RepetitionTime": 4.5, "EchoTime": 2.0, "FlipAngle": 10, "SequenceName": "*fl3d1"}
FLASH2D = M | {
    "MRAcquisitionType": "2D", "ScanningSequence": "GR", "SequenceVariant": ["SP", "OSP"], "RepetitionTime": 132,
    "EchoTime": 4.6, "FlipAngle": 70, "EchoTrainLength": 1, "SequenceName": "*fl2d1",
}  # fmt: skip
SCOUT = FLASH2D | {"RepetitionTime": 8.6, "EchoTime": 4.0, "FlipAngle": 20}
TOF2D = FLASH2D | {
    "RepetitionTime": 25, "EchoTime": 7.0, "FlipAngle": 60, "ScanOptions": ["SAT1", "FC"], "AngioFlag": "Y",
}  # fmt: skip
PHILIPS_T1 = SE | M_SE | {"SequenceVariant": "SK", "RepetitionTime": 560, "EchoTime": 8, "EchoTrainLength": 6}
PHILIPS_T2 = SE | M_SE | {"SequenceVariant": "SK", "RepetitionTime": 3200, "EchoTime": 110, "EchoTrainLength": 20}
PHILIPS_STIR = SE | {
    "ImageType": ["ORIGINAL", "PRIMARY", "M_IR", "M", "IR"], "ScanningSequence": "IR", "SequenceVariant": "SK",
    "RepetitionTime": 3600, "EchoTime": 70, "InversionTime": 210, "EchoTrainLength": 18,
}  # fmt: skip
THRIVE = GR3D | M_FFE | {
    "SequenceVariant": "MP", "RepetitionTime": 4.0, "EchoTime": 1.9, "FlipAngle": 10, "ScanOptions": "FS",
    "EchoTrainLength": 60,
}  # fmt: skip
GE_T1 = SE | OTHER | {
    "SequenceVariant": "SK", "RepetitionTime": 680, "EchoTime": 9.5, "EchoTrainLength": 3, "FlipAngle": 111,
    "ScanOptions": ["FAST_GEMS", "NPW", "TRF_GEMS"],
}  # fmt: skip
GE_T1_FS = GE_T1 | {"ScanOptions": ["FAST_GEMS", "NPW", "FS", "TRF_GEMS"]}
GE_T1_FLAIR = GE_T1 | {
    "ScanningSequence": ["SE", "IR"], "RepetitionTime": 2500, "EchoTime": 24, "InversionTime": 860,
    "EchoTrainLength": 7,
}  # fmt: skip
GE_T2 = GE_T1 | {"RepetitionTime": 3400, "EchoTime": 102, "EchoTrainLength": 18}
GE_STIR = GE_T1 | {
    "ScanningSequence": ["SE", "IR"], "RepetitionTime": 4300, "EchoTime": 50, "InversionTime": 150,
    "EchoTrainLength": 10,
}  # fmt: skip
LAVA = GR3D | OTHER | {
    "SequenceVariant": ["SS", "SP", "SK"], "RepetitionTime": 4.2, "EchoTime": 2.0, "InversionTime": 5,
    "FlipAngle": 12, "ScanOptions": ["FAST_GEMS", "FS"],
}  # fmt: skip
LAVA_FLEX = LAVA | {"ScanOptions": ["FAST_GEMS"], "RepetitionTime": 5.6, "EchoTime": 1.7}
CANON_T1 = SE | OTHER | {
    "SequenceVariant": "SK", "RepetitionTime": 600, "EchoTime": 12, "EchoTrainLength": 3, "FlipAngle": 90,
}  # fmt: skip
CANON_T2 = CANON_T1 | {"RepetitionTime": 3600, "EchoTime": 105, "EchoTrainLength": 15}
QUICK3D = GR3D | OTHER | {
    "SequenceVariant": "NONE", "RepetitionTime": 4.1, "EchoTime": 1.5, "FlipAngle": 13, "ScanOptions": "FATSAT",
}  # fmt: skip
UIH_T1 = SE | M | {"SequenceVariant": "SK", "RepetitionTime": 580, "EchoTime": 10, "EchoTrainLength": 4}
UIH_T2 = UIH_T1 | {"RepetitionTime": 3000, "EchoTime": 108, "EchoTrainLength": 16}
UIH_STIR = UIH_T1 | {
    "ScanningSequence": ["SE", "IR"], "RepetitionTime": 3800, "EchoTime": 60, "InversionTime": 200,
    "EchoTrainLength": 12,
}  # fmt: skip
HITACHI_T1 = SE | OTHER | {"SequenceVariant": "SK", "RepetitionTime": 460, "EchoTime": 15, "EchoTrainLength": 2}
HITACHI_T2 = HITACHI_T1 | {"RepetitionTime": 4000, "EchoTime": 120, "EchoTrainLength": 16}
HITACHI_STIR = HITACHI_T1 | {
    "ScanningSequence": "IR", "RepetitionTime": 2600, "EchoTime": 25, "InversionTime": 90, "EchoTrainLength": 8,
}  # fmt: skip


def dixon(word: str, *, derived: bool) -> dict[str, Any]:
    """Return how Siemens writes one part of a VIBE Dixon."""
    return VIBE | {
        "ImageType": ["DERIVED" if derived else "ORIGINAL", "PRIMARY", "DIXON", word],
        "RepetitionTime": 6.6, "EchoTime": 2.4,
    }  # fmt: skip


def mdixon(word: str) -> dict[str, Any]:
    """Return how Philips writes one part of an mDIXON."""
    return THRIVE | {
        "ImageType": ["DERIVED", "PRIMARY", word, word, "DERIVED"], "SequenceVariant": "SP", "ScanOptions": "OTHER",
        "RepetitionTime": 5.5, "EchoTime": 1.9,
    }  # fmt: skip


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Truth:
    """What was really done: which acquisition, and whether contrast was in the patient (None: it does not matter)."""

    acquisition: str
    contrast: bool | None


@dataclass(frozen=True, eq=False)
class Series:
    """One header set.

    Parameters
    ----------
    label : str
        The role expected, as `RoleDecision.label` words it.
    physics : dict
        Attributes of the sequence; `more` wins over them, None leaves one out.
    minute : float
        When it was acquired, in minutes from the first.
    truth : Truth
        Of a T1-weighted one; of one maker and plane the same word stands for the same sequence.
    lies : bool
        Whether its header says the contrary of the truth about contrast, or that it is an original, so that only its
        study, or its description, can tell.
    """

    label: str
    plane: str
    description: str
    physics: dict[str, Any]
    minute: float
    truth: Truth = Truth("", None)
    more: dict[str, Any] = field(default_factory=dict)
    enhanced: bool = False
    slices: int = 5
    lies: bool = False


@dataclass(frozen=True, eq=False)
class Study:
    """Header sets of one study, and what is to come of it: the reason of the selection begins with `outcome`."""

    name: str
    vendor: str
    outcome: str
    series: tuple[Series, ...]


PAIR = "contrast pair"
TO_BE_JOINED = "contrast pair; weakened by CMP-FOR"  # a patient who left the table, or whose frame was stripped
NO_PAIR = "no contrast pair"
UNCLEAR = "ROLE-CONTRAST"  # refused in a report
REFUSED = "series that look like a contrast pair, not to be compared: "
GD = {"ContrastBolusAgent": "Gadovist"}


def scout(vendor_words: str, physics: dict[str, Any] = SCOUT, minute: float = 0) -> Series:
    return Series("localizer", "planes", vendor_words, physics, minute)


STUDIES = (
    Study(
        "siemens-tse",
        "siemens",
        PAIR,
        (
            scout("localizer_3plane"),
            Series("sagittal T2", "sagittal", "t2_tse_sag", T2_TSE, 3),
            Series("sagittal STIR, fat-suppressed", "sagittal", "t2_tirm_sag", TIRM, 7, more={"ScanOptions": "FS"}),
            Series("sagittal T1 pre", "sagittal", "t1_tse_sag", T1_TSE, 11, Truth("s-sag", False)),
            Series("axial T2", "axial", "t2_tse_tra", T2_TSE, 15),
            Series("axial T1 pre", "axial", "t1_tse_tra", T1_TSE, 20, Truth("s-tra", False)),
            Series("axial T1 post", "axial", "t1_tse_tra_km", T1_TSE, 30, Truth("s-tra", True), GD),
            Series(
                "sagittal T1 post, fat-suppressed",
                "sagittal",
                "t1_tse_fs_sag_km",
                T1_TSE,
                35,
                Truth("s-sag-fs", True),
                GD | {"ScanOptions": "FS"},
            ),
            Series("axial T1 post", "axial", "t1_tse_tra_spaet", T1_TSE, 45, Truth("s-tra", True), GD),
        ),
    ),
    Study(
        "siemens-blade-german",
        "siemens",
        PAIR,
        (
            Series(
                "sagittal T1 pre",
                "sagittal",
                "T1 BLADE sag nativ",
                T1_TSE,
                0,
                Truth("s-blade", False),
                {"EchoTime": 24, "EchoTrainLength": 9, "SequenceName": "*tseR2d1rs9"},
            ),
            Series(
                "sagittal T1 post",
                "sagittal",
                "T1 BLADE sag nach KM",
                T1_TSE,
                12,
                Truth("s-blade", True),
                {"EchoTime": 24, "EchoTrainLength": 9, "SequenceName": "*tseR2d1rs9", "ContrastBolusAgent": ""},
            ),
            Series("coronal STIR, fat-suppressed", "coronal", "t2_tirm_cor", TIRM, 18, more={"ScanOptions": "FS"}),
            Series(
                "other",
                "axial",
                "t2_me2d_tra",
                FLASH2D,
                22,
                more={"RepetitionTime": 700, "EchoTime": 17, "FlipAngle": 30, "SequenceName": "*me2d1r4"},
            ),
        ),
    ),
    Study(
        "siemens-vibe-dixon",
        "siemens",
        PAIR,
        (
            Series(
                "Dixon water pre", "axial", "t1_vibe_dixon_tra_W", dixon("WATER", derived=True), 0, Truth("s-w", False)
            ),
            Series("Dixon fat", "axial", "t1_vibe_dixon_tra_F", dixon("FAT", derived=True), 0),
            Series(
                "Dixon in-phase pre",
                "axial",
                "t1_vibe_dixon_tra_in",
                dixon("IN_PHASE", derived=False),
                0,
                Truth("s-in", False),
                {"EchoTime": 2.5},
            ),
            Series(
                "Dixon opposed-phase",
                "axial",
                "t1_vibe_dixon_tra_opp",
                dixon("OPP_PHASE", derived=False),
                0,
                more={"EchoTime": 1.3},
            ),
            Series(
                "Dixon water post",
                "axial",
                "t1_vibe_dixon_tra_km_W",
                dixon("WATER", derived=True),
                9,
                Truth("s-w", True),
                GD,
            ),
            Series(
                "Dixon in-phase post",
                "axial",
                "t1_vibe_dixon_tra_km_in",
                dixon("IN_PHASE", derived=False),
                9,
                Truth("s-in", True),
                GD | {"EchoTime": 2.5},
            ),
            Series(
                "derived",
                "axial",
                "t1_vibe_dixon_tra_km_SUB",
                dixon("WATER", derived=True),
                10,
                more=GD | {"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION", "DIXON", "WATER"]},
            ),
        ),
    ),
    Study(
        "siemens-venography",
        "siemens",
        "MRV alone",
        (
            Series("MRV time of flight", "axial", "fl2d_tof_ven_tra", TOF2D, 0),
            Series(
                "MRV phase contrast velocity",
                "axial",
                "fl2d_pc_P",
                FLASH2D,
                5,
                more={
                    "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"],
                    "RepetitionTime": 40,
                    "FlipAngle": 20,
                    "SequenceName": "*fl2d1_v20in",
                },
            ),
            Series(
                "MRV phase contrast magnitude",
                "axial",
                "fl2d_pc_MAG",
                FLASH2D,
                5,
                more={
                    "ImageType": ["ORIGINAL", "PRIMARY", "MAG", "ND"],
                    "RepetitionTime": 40,
                    "FlipAngle": 20,
                    "SequenceName": "*fl2d1_v20in",
                },
            ),
            Series(
                "MRV bSSFP",
                "axial",
                "QISS_tra",
                FLASH2D,
                9,
                more={
                    "SequenceVariant": ["SK", "SS"],
                    "RepetitionTime": 3.3,
                    "EchoTime": 1.4,
                    "FlipAngle": 90,
                    "ScanOptions": ["CT", "PFP"],
                    "SequenceName": "*qissfi2d1",
                    "TriggerTime": 350,
                },
            ),
            Series(
                "MRV contrast-enhanced",
                "coronal",
                "twist_cor_dyn",
                VIBE,
                14,
                more=GD | {"RepetitionTime": 2.8, "EchoTime": 1.0, "FlipAngle": 25, "SequenceName": "*fl3d1"},
            ),
            Series(
                "derived",
                "coronal",
                "twist_cor_dyn_MIP",
                VIBE,
                15,
                more=GD | {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "CSA MIP"], "FlipAngle": 25},
            ),
            Series(
                "other",
                "sagittal",
                "t2_ci3d_sag",
                VIBE,
                18,
                more={
                    "SequenceVariant": "SS",
                    "RepetitionTime": 5.9,
                    "EchoTime": 2.7,
                    "FlipAngle": 60,
                    "SequenceName": "*ci3d1",
                },
            ),
        ),
    ),
    Study(
        "siemens-xa-enhanced",
        "siemens",
        PAIR,
        (
            Series("sagittal T2", "sagittal", "t2_tse_sag", T2_TSE, 0, enhanced=True),
            Series("axial T1 pre", "axial", "t1_tse_tra", T1_TSE, 6, Truth("s-tra", False), enhanced=True),
            Series("axial T1 post", "axial", "t1_tse_tra_km", T1_TSE, 16, Truth("s-tra", True), GD, enhanced=True),
            Series(
                "MRV time of flight",
                "axial",
                "fl2d_tof_tra",
                TOF2D,
                25,
                more={"EchoTrainLength": 1},
                enhanced=True,
            ),
        ),
    ),
    Study(
        "philips-tse",
        "philips",
        PAIR,
        (
            scout("Survey", SCOUT | M_FFE),
            Series("sagittal T2", "sagittal", "T2W_TSE SAG", PHILIPS_T2, 3),
            Series("sagittal STIR, fat-suppressed", "sagittal", "STIR_TSE SAG", PHILIPS_STIR, 6),
            Series("axial T1 pre", "axial", "T1W_TSE TRA", PHILIPS_T1, 10, Truth("p-tra", False)),
            Series("axial T2", "axial", "T2W_TSE TRA", PHILIPS_T2, 14),
            Series("axial T1 post", "axial", "T1W_TSE TRA +C", PHILIPS_T1, 22, Truth("p-tra", True), GD),
            Series(
                "axial T1 post, fat-suppressed",
                "axial",
                "T1W_SPIR TRA +C",
                PHILIPS_T1,
                27,
                Truth("p-fs", True),
                GD | {"ScanOptions": "FS"},
            ),
        ),
    ),
    Study(
        "philips-thrive-french",
        "philips",
        PAIR,
        (
            Series("axial T1 pre, fat-suppressed", "axial", "eTHRIVE AX SANS INJ", THRIVE, 0, Truth("p-thrive", False)),
            Series(
                "axial T1 post, fat-suppressed", "axial", "eTHRIVE AX APRES GADO", THRIVE, 8, Truth("p-thrive", True)
            ),
            Series(
                "sagittal T2, fat-suppressed", "sagittal", "T2 SPAIR SAG", PHILIPS_T2, 12, more={"ScanOptions": "FS"}
            ),
        ),
    ),
    Study(
        "philips-mdixon",
        "philips",
        PAIR,
        (
            Series("Dixon water pre", "axial", "mDIXON-W T1 TRA", mdixon("W"), 0, Truth("p-w", False)),
            Series("Dixon fat", "axial", "mDIXON-F T1 TRA", mdixon("F"), 0),
            Series("Dixon in-phase pre", "axial", "mDIXON-IP T1 TRA", mdixon("IP"), 0, Truth("p-ip", False)),
            Series("Dixon opposed-phase", "axial", "mDIXON-OP T1 TRA", mdixon("OP"), 0),
            Series("Dixon water post", "axial", "mDIXON-W T1 TRA +C", mdixon("W"), 9, Truth("p-w", True), GD),
            Series(
                "sagittal T2",
                "sagittal",
                "T2W_mDIXON IP SAG",
                PHILIPS_T2,
                14,
                more={"ImageType": ["DERIVED", "PRIMARY", "IP", "IP", "DERIVED"]},
            ),
        ),
    ),
    Study(
        "philips-venography",
        "philips",
        "MRV alone",
        (
            Series("MRV time of flight", "axial", "2D_TOF MRV", TOF2D | M_FFE, 0, more={"AngioFlag": None}),
            Series(
                "MRV phase contrast magnitude",
                "axial",
                "PCA MRV",
                FLASH2D,
                5,
                more={"ImageType": ["ORIGINAL", "PRIMARY", "M_PCA", "M", "PCA"], "RepetitionTime": 20, "FlipAngle": 15},
            ),
            Series(
                "MRV phase contrast velocity",
                "axial",
                "PCA MRV",
                FLASH2D,
                5,
                more={
                    "ImageType": ["ORIGINAL", "PRIMARY", "VELOCITY MAP", "P", "PCA"],
                    "RepetitionTime": 20,
                    "FlipAngle": 15,
                },
            ),
            Series(
                "other",
                "axial",
                "mFFE TRA",
                FLASH2D | M_FFE,
                9,
                more={"RepetitionTime": 520, "EchoTime": 9.2, "FlipAngle": 28, "SequenceVariant": "SP"},
            ),
        ),
    ),
    Study(
        "philips-enhanced",
        "philips",
        PAIR,
        (
            Series("axial T1 pre", "axial", "T1W_TSE TRA", PHILIPS_T1, 0, Truth("p-tra", False), enhanced=True),
            Series("axial T1 post", "axial", "T1W_TSE TRA GD", PHILIPS_T1, 9, Truth("p-tra", True), GD, enhanced=True),
            Series("sagittal T2", "sagittal", "T2W_TSE SAG", PHILIPS_T2, 12, enhanced=True),
        ),
    ),
    Study(
        "ge-fse",
        "ge",
        PAIR,
        (
            scout("3-Plane Loc", SCOUT | OTHER | {"ScanningSequence": "SE", "SequenceVariant": "SK", "EchoTime": 81}),
            Series("sagittal T2", "sagittal", "Sag T2 FSE", GE_T2, 3),
            Series("sagittal T1 pre", "sagittal", "Sag T1 FLAIR", GE_T1_FLAIR, 7, Truth("g-flair", False)),
            Series("sagittal STIR, fat-suppressed", "sagittal", "Sag STIR", GE_STIR, 11),
            Series("axial T2", "axial", "Ax T2 FSE", GE_T2, 15),
            Series("axial T1 pre", "axial", "Ax T1 FSE", GE_T1, 19, Truth("g-tra", False)),
            Series(
                "axial T1 post", "axial", "Ax T1 FSE +C", GE_T1, 29, Truth("g-tra", True), {"ContrastBolusAgent": "Gad"}
            ),
            Series(
                "sagittal T1 post, fat-suppressed",
                "sagittal",
                "Sag T1 FSE FS +C",
                GE_T1_FS,
                33,
                Truth("g-fs", True),
                {"ContrastBolusAgent": "Gad"},
            ),
        ),
    ),
    Study(
        "ge-lava-flex",
        "ge",
        PAIR,
        (
            Series("Dixon water pre", "axial", "WATER: Ax LAVA-Flex", LAVA_FLEX, 0, Truth("g-w", False)),
            Series("Dixon fat", "axial", "FAT: Ax LAVA-Flex", LAVA_FLEX, 0),
            Series("Dixon in-phase pre", "axial", "InPhase: Ax LAVA-Flex", LAVA_FLEX, 0, Truth("g-in", False)),
            Series("Dixon opposed-phase", "axial", "OutPhase: Ax LAVA-Flex", LAVA_FLEX, 0),
            Series(
                "Dixon water post",
                "axial",
                "WATER: Ax LAVA-Flex +C",
                LAVA_FLEX,
                9,
                Truth("g-w", True),
                {"ContrastBolusAgent": "Gad"},
            ),
        ),
    ),
    Study(
        "ge-venography",
        "ge",
        PAIR,
        (
            Series(
                "MRV time of flight",
                "axial",
                "2D TOF MRV",
                TOF2D | OTHER,
                0,
                more={"SequenceVariant": ["SS", "SP", "SK"], "ScanOptions": ["FC", "FAST_GEMS", "SP"]},
            ),
            Series("axial T1 pre, fat-suppressed", "axial", "Ax LAVA pre", LAVA, 4, Truth("g-lava", False)),
            Series(
                "MRV contrast-enhanced",
                "coronal",
                "Cor TRICKS",
                LAVA,
                8,
                more={
                    "RepetitionTime": 3.6,
                    "EchoTime": 1.2,
                    "FlipAngle": 30,
                    "ScanOptions": ["FAST_GEMS"],
                    "ContrastBolusAgent": "Gad",
                },
            ),
            Series(
                "axial T1 post, fat-suppressed",
                "axial",
                "Ax LAVA +C",
                LAVA,
                12,
                Truth("g-lava", True),
                {"ContrastBolusAgent": "Gad"},
            ),
            Series(
                "other",
                "sagittal",
                "Sag FIESTA-C",
                LAVA,
                16,
                more={
                    "SequenceVariant": ["SS", "SK"],
                    "RepetitionTime": 5.4,
                    "EchoTime": 2.2,
                    "FlipAngle": 55,
                    "ScanOptions": ["FAST_GEMS"],
                },
            ),
        ),
    ),
    Study(
        "canon",
        "canon",
        PAIR,
        (
            scout("Locator", SCOUT | OTHER),
            Series("sagittal T2", "sagittal", "SAG T2 FSE", CANON_T2, 3),
            Series("axial T1 pre", "axial", "AX T1 FSE", CANON_T1, 8, Truth("c-tra", False)),
            Series(
                "axial T1 post",
                "axial",
                "AX T1 FSE CE",
                CANON_T1,
                18,
                Truth("c-tra", True),
                {"ContrastBolusAgent": "GD"},
            ),
            Series(
                "axial T1 post, fat-suppressed",
                "axial",
                "AX QUICK 3D CE",
                QUICK3D,
                22,
                Truth("c-q3d", True),
                {"ContrastBolusAgent": "GD"},
            ),
        ),
    ),
    Study(
        "uih",
        "uih",
        PAIR,
        (
            Series("sagittal T2", "sagittal", "t2_fse_sag", UIH_T2, 0),
            Series("sagittal STIR, fat-suppressed", "sagittal", "t2_fse_stir_sag", UIH_STIR, 4),
            Series("axial T1 pre", "axial", "t1_fse_tra", UIH_T1, 9, Truth("u-tra", False)),
            Series(
                "axial T1 post",
                "axial",
                "t1_fse_tra+c",
                UIH_T1,
                19,
                Truth("u-tra", True),
                {"ContrastBolusAgent": "YES"},
            ),
            Series(
                "axial T1 post, fat-suppressed",
                "axial",
                "t1_quick3d_fs_tra+c",
                VIBE,
                24,
                Truth("u-q3d", True),
                {"ContrastBolusAgent": "YES", "ScanOptions": "FS", "SequenceName": "gre_fsp"},
            ),
        ),
    ),
    Study(
        "hitachi-low-field",
        "hitachi",
        PAIR,
        (
            Series("sagittal T2", "sagittal", "T2 FSE SAG", HITACHI_T2, 0),
            Series("sagittal STIR, fat-suppressed", "sagittal", "STIR SAG", HITACHI_STIR, 6),
            Series("axial T1 pre", "axial", "T1 SE AX", HITACHI_T1, 12, Truth("h-tra", False)),
            Series("axial T1 post", "axial", "T1 SE AX Gd", HITACHI_T1, 24, Truth("h-tra", True)),
        ),
    ),
    # ------------------------------------------------------------ what must not become a pair
    Study(
        "no-contrast-given",
        "siemens",
        NO_PAIR,
        (
            Series("axial T1 pre", "axial", "t1_tse_tra", T1_TSE, 0, Truth("s-tra", False)),
            Series("axial T1 pre", "axial", "t1_tse_tra", T1_TSE, 10, Truth("s-tra", False)),  # repeated after movement
            Series("sagittal T2", "sagittal", "t2_tse_sag", T2_TSE, 15),
        ),
    ),
    Study(
        "agent-left-over-on-both",
        "siemens",
        NO_PAIR,
        (
            Series("axial T1 post", "axial", "t1_tse_tra", T1_TSE, 0, Truth("s-tra", False), GD, lies=True),
            Series("axial T1 post", "axial", "t1_tse_tra", T1_TSE, 10, Truth("s-tra", True), GD),
        ),
    ),
    Study(
        "agent-on-what-is-called-pre",
        "ge",
        UNCLEAR,
        (
            Series(
                "axial T1 contradictory",
                "axial",
                "Ax T1 FSE pre",
                GE_T1,
                0,
                Truth("g-tra", False),
                {"ContrastBolusAgent": "Gad"},
                lies=True,
            ),
            Series(
                "axial T1 post", "axial", "Ax T1 FSE +C", GE_T1, 10, Truth("g-tra", True), {"ContrastBolusAgent": "Gad"}
            ),
        ),
    ),
    Study(
        "called-pre-but-later",
        "philips",
        UNCLEAR,
        (
            Series("axial T1 post", "axial", "T1W_TSE TRA", PHILIPS_T1, 0, Truth("p-tra", True), GD),
            Series(
                "axial T1 contradictory", "axial", "T1W_TSE TRA pre", PHILIPS_T1, 10, Truth("p-tra", True), lies=True
            ),
        ),
    ),
    Study(
        "post-and-late-without-name",
        "canon",
        NO_PAIR,
        (
            Series(
                "axial T1 post",
                "axial",
                "AX T1 FSE CE",
                CANON_T1,
                0,
                Truth("c-tra", True),
                {"ContrastBolusAgent": "GD"},
            ),
            Series("axial T1 post", "axial", "AX T1 FSE", CANON_T1, 10, Truth("c-tra", True), lies=True),
        ),
    ),
    Study(
        "bolus-time-says-which",
        "siemens",
        PAIR,
        (
            Series(
                "axial T1 pre",
                "axial",
                "t1_tse_tra",
                T1_TSE,
                0,
                Truth("s-tra", False),
                GD | {"ContrastBolusStartTime": "101500"},
                lies=True,
            ),
            Series(
                "axial T1 post",
                "axial",
                "t1_tse_tra",
                T1_TSE,
                20,
                Truth("s-tra", True),
                GD | {"ContrastBolusStartTime": "101500"},
            ),
        ),
    ),
    Study(
        "pre-without-post-with-fat-suppression",
        "ge",
        REFUSED + "CMP-FS",
        (
            Series("axial T1 pre", "axial", "Ax T1 FSE", GE_T1, 0, Truth("g-tra", False)),
            Series(
                "axial T1 post, fat-suppressed",
                "axial",
                "Ax T1 FSE FS +C",
                GE_T1_FS,
                12,
                Truth("g-tra-fs", True),
                {"ContrastBolusAgent": "Gad"},
            ),
        ),
    ),
    Study(
        "magnetisation-transfer",
        "siemens",
        REFUSED + "CMP-SEQ",
        (
            Series("axial T1 pre", "axial", "t1_fl2d_tra", FLASH2D, 0, Truth("s-fl2d", False)),
            Series(
                "axial T1 post",
                "axial",
                "t1_fl2d_mt_tra_km",
                FLASH2D,
                5,
                Truth("s-fl2d-mt", True),
                GD | {"SequenceVariant": ["SP", "OSP", "MTC"]},
            ),
        ),
    ),
    Study(
        "in-and-opposed-phase",
        "siemens",
        REFUSED + "CMP-SEQ",
        (
            Series(
                "axial T1 pre", "axial", "t1_fl2d_opp-in_tra", FLASH2D, 0, Truth("s-fl2d-op", False), {"EchoTime": 2.3}
            ),
            Series(
                "axial T1 post",
                "axial",
                "t1_fl2d_opp-in_tra",
                FLASH2D,
                1,
                Truth("s-fl2d", True),
                GD | {"EchoTime": 4.6},
            ),
        ),
    ),
    Study(
        "two-flip-angles",
        "siemens",
        REFUSED + "CMP-SEQ",
        (
            Series("axial T1 pre", "axial", "t1_vibe_tra_fa12", VIBE, 0, Truth("s-vibe-12", False), {"FlipAngle": 12}),
            Series(
                "axial T1 post", "axial", "t1_vibe_tra_fa20", VIBE, 2, Truth("s-vibe-20", True), GD | {"FlipAngle": 20}
            ),
            Series("other", "axial", "t1_vibe_tra_fa3", VIBE, 4, more=GD | {"FlipAngle": 3}),
        ),
    ),
    Study(
        "back-on-the-table",
        "hitachi",
        TO_BE_JOINED,
        (
            Series("axial T1 pre", "axial", "T1 SE AX", HITACHI_T1, 0, Truth("h-tra", False)),
            Series(
                "axial T1 post",
                "axial",
                "T1 SE AX Gd",
                HITACHI_T1,
                10,
                Truth("h-tra", True),
                GD | {"FrameOfReferenceUID": "2.25.77"},
            ),
        ),
    ),
    Study(
        "frame-of-reference-stripped",
        "canon",
        TO_BE_JOINED,
        (
            Series("axial T1 pre", "axial", "AX T1", CANON_T1, 0, Truth("c-tra", False), {"FrameOfReferenceUID": None}),
            Series(
                "axial T1 post",
                "axial",
                "AX T1 CE",
                CANON_T1,
                10,
                Truth("c-tra", True),
                GD | {"FrameOfReferenceUID": None},
            ),
        ),
    ),
    Study(
        "neck-and-loin",  # two frames of reference, because the table went between them
        "siemens",
        NO_PAIR,
        (
            Series(
                "axial T1 pre",
                "axial",
                "t1_tse_tra hws",
                T1_TSE,
                0,
                Truth("s-tra", False),
                {"BodyPartExamined": "CSPINE"},
            ),
            Series(
                "axial T1 post",
                "axial",
                "t1_tse_tra lws km",
                T1_TSE,
                20,
                Truth("s-tra", True),
                GD | {"FrameOfReferenceUID": "2.25.77"},
            ),
        ),
    ),
    Study(
        "pre-was-repeated-in-the-frame-of-post",
        "siemens",
        PAIR,
        (
            Series("axial T1 pre", "axial", "t1_tse_tra", T1_TSE, 0, Truth("s-tra", False)),
            Series(
                "axial T1 pre",
                "axial",
                "t1_tse_tra",
                T1_TSE,
                10,
                Truth("s-tra", False),
                {"FrameOfReferenceUID": "2.25.77"},
            ),
            Series(
                "axial T1 post",
                "axial",
                "t1_tse_tra_km",
                T1_TSE,
                20,
                Truth("s-tra", True),
                GD | {"FrameOfReferenceUID": "2.25.77"},
            ),
        ),
    ),
    Study(
        "another-day",
        "philips",
        NO_PAIR,
        (
            Series("axial T1 pre", "axial", "T1W_TSE TRA", PHILIPS_T1, 0, Truth("p-tra", False)),
            Series(
                "axial T1 post",
                "axial",
                "T1W_TSE TRA +C",
                PHILIPS_T1,
                10,
                Truth("p-tra", True),
                GD | {"StudyDate": "20260103", "AcquisitionDate": "20260103"},
            ),
        ),
    ),
    Study(
        "pre-and-subtraction",
        "siemens",
        NO_PAIR,
        (
            Series("axial T1 pre", "axial", "t1_vibe_tra", VIBE, 0, Truth("s-vibe", False)),
            Series(
                "derived",
                "axial",
                "t1_vibe_tra_km_SUB",
                VIBE,
                10,
                more=GD | {"ImageType": ["DERIVED", "PRIMARY", "SUBTRACTION", "NONE"]},
            ),
            Series(
                "derived", "axial", "t1_vibe_tra_km_MIP", VIBE, 11, more=GD, lies=True
            ),  # the console forgot DERIVED
        ),
    ),
    Study(
        "t1-and-t2",
        "hitachi",
        NO_PAIR,
        (
            Series("axial T1 pre", "axial", "T1 SE AX", HITACHI_T1, 0, Truth("h-tra", False)),
            Series("axial T2", "axial", "T2 FSE AX Gd", HITACHI_T2, 10, more=GD),
        ),
    ),
    Study(
        "magnitude-and-phase",
        "siemens",
        NO_PAIR,
        (
            Series("axial T1 pre", "axial", "t1_fl2d_tra", FLASH2D, 0, Truth("s-fl2d", False)),
            Series(
                "other",
                "axial",
                "t1_fl2d_tra",
                FLASH2D,
                0.5,
                more=GD | {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
            ),
        ),
    ),
    Study(
        "timing-missing",
        "uih",
        REFUSED + "CMP-SEQ",  # TR and TE were stripped: the description is all there is
        (
            Series(
                "axial T1 pre",
                "axial",
                "t1_fse_tra",
                UIH_T1,
                0,
                Truth("u-tra", False),
                {"RepetitionTime": None, "EchoTime": None},
            ),
            Series(
                "axial T1 post",
                "axial",
                "t1_fse_tra_post",
                UIH_T1,
                10,
                Truth("u-tra", True),
                {"RepetitionTime": None, "EchoTime": None},
            ),
            Series("axial T2", "axial", "t2_fse_tra", UIH_T2, 14, more={"RepetitionTime": None, "EchoTime": None}),
            Series("other", "axial", "fse_tra", UIH_T2, 18, more={"RepetitionTime": None, "EchoTime": None}),
        ),
    ),
    Study(
        "a-description-that-lies",
        "siemens",
        NO_PAIR,
        (
            Series("axial T2", "axial", "t1_tse_tra_km", T2_TSE, 0, more=GD),  # a copied protocol
            Series("axial T1 pre", "axial", "t2_tse_tra", T1_TSE, 5, Truth("s-tra", False)),
            Series("axial T1 pre", "axial", "t1_tse_tra_post_op", T1_TSE, 9, Truth("s-tra", False)),  # after surgery
        ),
    ),
    Study(
        "no-times-and-no-names",
        "ge",
        UNCLEAR,
        (
            Series(
                "axial T1 contradictory",
                "axial",
                "Ax T1 FSE",
                GE_T1,
                0,
                Truth("g-tra", False),
                {"AcquisitionTime": None},
            ),
            Series(
                "axial T1 post",
                "axial",
                "Ax T1 FSE",
                GE_T1,
                10,
                Truth("g-tra", True),
                {"AcquisitionTime": None, "ContrastBolusAgent": "Gad"},
            ),
        ),
    ),
    Study(
        "head-and-others",
        "philips",
        NO_PAIR,
        (
            Series(
                "other",
                "sagittal",
                "ADNI_Sag3D MPRAGE",
                THRIVE,
                0,
                more={
                    "RepetitionTime": 6.5,
                    "EchoTime": 2.9,
                    "FlipAngle": 9,
                    "ScanOptions": "OTHER",
                    "BodyPartExamined": "LSPINE",
                },
            ),
            Series(
                "other",
                "axial",
                "DWI b1000",
                PHILIPS_T2,
                5,
                more={"ScanningSequence": ["SE", "EP"], "DiffusionBValue": 1000.0},
            ),
            Series(
                "other",
                "axial",
                "PDW_TSE",
                PHILIPS_T1,
                9,
                more={"RepetitionTime": 2800, "EchoTime": 30},
            ),
            Series(
                "other",
                "axial",
                "FLAIR",
                PHILIPS_STIR,
                12,
                more={"RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2600},
            ),
        ),
    ),
)


# ---------------------------------------------------------------- as data sets


@cache
def headers(study: Study, index: int) -> tuple[Dataset, ...]:
    """Return the instances of one series, without pixels that matter."""
    series = study.series[index]
    if series.plane == "planes":
        found = [one for k, plane in enumerate(_ORIENTATIONS) for one in _classic(study, index, plane, 3, first=3 * k)]
    else:
        found = list(_classic(study, index, series.plane, series.slices))
    return (to_enhanced(found),) if series.enhanced else tuple(found)


def _classic(study: Study, index: int, plane: str, slices: int, first: int = 0) -> Iterator[Dataset]:
    series = study.series[index]
    uid = f"2.25.{abs(hash_of(study.name))}.{index + 1}"
    for k in range(slices):
        step = 4.0 * (k - slices // 2)
        values = {
            "SeriesDescription": series.description,
            "ProtocolName": series.description,
            "BodyPartExamined": "LSPINE",
            "PatientPosition": "HFS",
            "AcquisitionDate": "20260102",
            "AcquisitionTime": _clock(series.minute),
            "ContentDate": "20260102",
            "ContentTime": _clock(series.minute),
            "ImageOrientationPatient": _ORIENTATIONS[plane],
            "ImagePositionPatient": [step * one - 100 * (1 - abs(one)) for one in _NORMALS[plane]],
            "SliceLocation": step,
            "SpacingBetweenSlices": 4.0,
            "MagneticFieldStrength": 1.5,
            "ImagingFrequency": 63.87,
            "PixelBandwidth": 200,
            "InPlanePhaseEncodingDirection": "ROW",
            "WindowCenter": 100,
            "WindowWidth": 200,
            "AngioFlag": "N",
            "SeriesNumber": index + 1,
            "AcquisitionNumber": 1,
            "InstanceNumber": first + k + 1,
        }
        values |= _maker(study.vendor) | series.physics | series.more
        if "ContrastBolusAgent" in values and series.enhanced:
            values |= {"ContrastBolusVolume": 8, "ContrastBolusStartTime": _clock(series.minute - 5)}
        yield mr(f"{uid}.{first + k + 1}", series=uid, **values)


def hash_of(name: str) -> int:
    """Return a number that stands for a name, the same in every run."""
    return int.from_bytes(name.encode()[:12], "big")


def _maker(vendor: str) -> dict[str, Any]:
    if vendor in _OTHER_MAKERS:
        maker, model, coil = _OTHER_MAKERS[vendor]
    else:
        style = next(one for name, one in STYLES.items() if name == vendor)
        maker, model, coil = style.manufacturer, style.model, style.coil
    return {"Manufacturer": maker, "ManufacturerModelName": model, "ReceiveCoilName": coil}


def _clock(minute: float) -> str:
    seconds = 10 * 3600 + round(minute * _SECONDS)
    return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
