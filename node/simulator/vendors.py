"""Vendors: how the headers of four makers differ in what matters to a receiver.

The words follow headers seen in the public collections named in data/README.md and the makers' conformance
statements as far as known; model names say that the scanner is simulated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from node.simulator.recipe import SeriesKind, Vendor

Numbering = Literal["acquired", "reversed", "interleaved"]
Clock = Literal["acquisition", "position", "trigger"]


@dataclass(frozen=True, slots=True)
class Style:
    """One maker's way of writing.

    Parameters
    ----------
    image_types : mapping
        Image Type by what the series is: "se", "spgr", "tof".
    descriptions : mapping
        Series Description by kind and, for pre and post, sequence; "{fs}" is where fat suppression is named.
    fs_word : str
        That name.
    scan_options : str
        The Scan Options value for fat suppression.
    numbering : str
        How Instance Number runs: with the acquisition, against it, or odd slices first.
    bits_stored, signed : int, bool
        Of the pixels.
    clock : str
        What tells the time points of a dynamic series apart, and when they were: Acquisition Number and Time; Temporal
        Position Identifier and Acquisition Time; or that and Trigger Time, with one Acquisition Time for all.
    scales : mapping or None
        Rescale Slope and private Scale Slope by kind (Philips); None where stored values are the signal.
    """

    manufacturer: str
    model: str
    software: str
    image_types: Mapping[str, tuple[str, ...]]
    descriptions: Mapping[str, str]
    fs_word: str
    scan_options: str
    numbering: Numbering
    bits_stored: int
    signed: bool
    coil: str
    agent: str
    scales: Mapping[SeriesKind, tuple[float, float]] | None = None
    clock: Clock = "acquisition"


STYLES: dict[Vendor, Style] = {
    "siemens": Style(
        manufacturer="SIEMENS",
        model="MAGNETOM simulated",
        software="syngo MR simulated",
        image_types=dict.fromkeys(("se", "spgr", "tof"), ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D")),
        descriptions={
            "localizer": "localizer_3plane",
            "t2": "t2_tse_sag",
            "mrv": "fl2d_tof_ven_tra",
            "dynamic": "t1_vibe{fs}_{plane}_dyn",
            "pre se": "t1_tse{fs}_{plane}",
            "post se": "t1_tse{fs}_{plane}_km",
            "pre spgr": "t1_vibe{fs}_{plane}",
            "post spgr": "t1_vibe{fs}_{plane}_km",
        },
        fs_word="_fs",
        scan_options="FS",
        numbering="acquired",
        bits_stored=12,
        signed=False,
        coil="SP1;SP2",
        agent="GADOLINIUM",
    ),
    "philips": Style(
        manufacturer="Philips Medical Systems",
        model="Ingenia simulated",
        software="simulated",
        image_types={
            "se": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
            "spgr": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
            "tof": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
        },
        descriptions={
            "localizer": "Survey",
            "t2": "T2W_TSE SAG",
            "mrv": "2D_TOF MRV",
            "dynamic": "T1W_FFE{fs} {plane} dyn",
            "pre se": "T1W_TSE{fs} {plane}",
            "post se": "T1W_TSE{fs} {plane} +C",
            "pre spgr": "T1W_FFE{fs} {plane}",
            "post spgr": "T1W_FFE{fs} {plane} +C",
        },
        fs_word=" SPIR",
        scan_options="FS",
        numbering="reversed",
        bits_stored=12,
        signed=False,
        coil="dS Spine",
        agent="GADOVIST",
        clock="position",
        # Chosen; on real scanners they differ between series in the same way (docs/analysis.md, section 4).
        scales={
            "localizer": (1.10, 1.0e-2),
            "t2": (3.40, 0.7e-2),
            "mrv": (0.86, 1.6e-2),
            "pre": (2.24, 1.3e-2),
            "dynamic": (1.95, 1.2e-2),
            "post": (1.71, 1.1e-2),
        },
    ),
    "ge": Style(
        manufacturer="GE MEDICAL SYSTEMS",
        model="SIGNA simulated",
        software="simulated",
        image_types=dict.fromkeys(("se", "spgr", "tof"), ("ORIGINAL", "PRIMARY", "OTHER")),
        descriptions={
            "localizer": "3 Plane Loc",
            "t2": "Sag T2 FSE",
            "mrv": "2D TOF MRV",
            "dynamic": "{plane} DISCO{fs}",
            "pre se": "{plane} T1 FSE{fs}",
            "post se": "{plane} T1 FSE{fs} +C",
            "pre spgr": "{plane} LAVA{fs}",
            "post spgr": "{plane} LAVA{fs} +C",
        },
        fs_word=" FS",
        scan_options="FS",
        numbering="acquired",
        bits_stored=16,
        signed=True,
        coil="PA Spine",
        agent="Gad",
        clock="trigger",
    ),
    "canon": Style(
        manufacturer="CANON_MEC",
        model="Vantage simulated",
        software="simulated",
        image_types=dict.fromkeys(("se", "spgr", "tof"), ("ORIGINAL", "PRIMARY", "OTHER")),
        descriptions={
            "localizer": "Locator",
            "t2": "SAG T2 FSE",
            "mrv": "TOF 2D VENO",
            "dynamic": "{plane} T1 QUICK3D{fs} dynamic",
            "pre se": "{plane} T1 FSE{fs}",
            "post se": "{plane} T1 FSE{fs} CE",
            "pre spgr": "{plane} T1 QUICK3D{fs}",
            "post spgr": "{plane} T1 QUICK3D{fs} CE",
        },
        fs_word=" FATSAT",
        scan_options="FATSAT",
        numbering="interleaved",
        bits_stored=16,
        signed=False,
        coil="Spine SPEEDER",
        agent="GD",
        clock="position",
    ),
}

_PLANE_WORDS = {
    "siemens": {"axial": "tra", "sagittal": "sag", "coronal": "cor"},
    "philips": {"axial": "TRA", "sagittal": "SAG", "coronal": "COR"},
    "ge": {"axial": "Ax", "sagittal": "Sag", "coronal": "Cor"},
    "canon": {"axial": "AX", "sagittal": "SAG", "coronal": "COR"},
}


def describe(vendor: Vendor, kind: SeriesKind, *, sequence: str, orientation: str, fat_suppression: bool) -> str:
    """Return the Series Description."""
    style = STYLES[vendor]
    key = f"{kind} {sequence}" if kind in ("pre", "post") else kind
    return style.descriptions[key].format(
        fs=style.fs_word if fat_suppression else "", plane=_PLANE_WORDS[vendor][orientation]
    )


def order_of_numbers(numbering: Numbering, count: int) -> list[int]:
    """Return the slice, counted along the acquisition, that bears Instance Number 1, 2, ..."""
    match numbering:
        case "acquired":
            return list(range(count))
        case "reversed":
            return list(range(count))[::-1]
        case "interleaved":
            return [*range(0, count, 2), *range(1, count, 2)]
