"""Segmentations: muscles, lesions and vessels as DICOM SEG, each on the grid of the series it was drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.errors import ReportError
from node.findings import LesionFindings, Measurement, Side
from node.report import codes
from node.report.grids import grid_of, name_dimensions, refer_to_sources
from node.report.provenance import LESIONS, MUSCLES, VESSELS, Kind, Provenance
from node.report.sources import SeriesEvidence, Study

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]

LATERALITY = {Side.LEFT: codes.LEFT, Side.RIGHT: codes.RIGHT}
MUSCLE_LABEL = {Side.LEFT: 1, Side.RIGHT: 2}  # of `Regions.muscles`
# sRGB. Chosen so that any two are 30 apart at least (CIEDE2000), for eyes that lack one kind of cones too, as
# doi:10.1109/TVCG.2009.113 models them.
_MUSCLE_COLOR = {Side.LEFT: "#3355e0", Side.RIGHT: "#f0e442"}
_LESION_COLOR, _VESSEL_COLOR = "#d62020", "#00e5e5"


@dataclass(frozen=True, slots=True)
class Region:
    """What one label of a mask stands for."""

    label: int
    tracking_identifier: str
    name: str
    category: Code
    type: Code
    site: Code | None
    side: Side | None
    color: str


def muscle_region(side: Side) -> Region:
    """Return what the mask of one side's muscles stands for."""
    return Region(
        MUSCLE_LABEL[side],
        f"PVM muscle {side}",
        f"Paravertebral muscle {side}",
        codes.ANATOMICAL_STRUCTURE,
        codes.DEEP_BACK_MUSCLE,
        None,
        side,
        _MUSCLE_COLOR[side],
    )


def lesion_region(lesion: LesionFindings) -> Region:
    """Return what the mask of one lesion stands for."""
    return Region(
        lesion.number,
        lesion.tracking_identifier or f"PVM lesion {lesion.number}",
        f"Enhancing lesion {lesion.number}",
        codes.ABNORMAL_STRUCTURE,
        codes.ENHANCING_LESION,
        codes.DEEP_BACK_MUSCLE,
        lesion.side,
        _LESION_COLOR,
    )


_VESSELS = Region(
    1, "PVM vessels", "MRV vessels", codes.ANATOMICAL_STRUCTURE, codes.VEIN, codes.VENOUS_PLEXUS, None, _VESSEL_COLOR
)


def segmentations(measurement: Measurement, study: Study, provenance: Provenance) -> dict[Kind, Dataset]:
    """Return one SEG for each kind of region that was found; an empty mask makes none.

    Muscles, lesions and vessels never share an object: viewers show segments that do not overlap best.

    Raises
    ------
    ReportError
        If a mask lies on a series that the evidence has not, or has not in that shape.
    """
    masks = measurement.regions
    lesions = [lesion_region(lesion) for lesion in measurement.findings.lesions]
    layers: list[tuple[Kind, Labels | None, Sequence[Region], str]] = [
        (MUSCLES, masks.muscles, [muscle_region(side) for side in Side], masks.reference),
        (LESIONS, masks.lesions, lesions, masks.reference),
        (VESSELS, masks.vessels, [_VESSELS], "mrv"),
    ]
    objects = {}
    for kind, mask, described, role in layers:
        present = [] if mask is None else [region for region in described if (mask == region.label).any()]
        if mask is None or not present:
            continue
        series = study.series_of(role)
        if not series.headers[0].get("FrameOfReferenceUID"):
            continue  # type 1 in a SEG: without it the voxels lie nowhere, and the report goes without segments
        objects[kind] = _segmentation(kind, mask, present, series, study, provenance)
    return objects


def _segmentation(
    kind: Kind, mask: Labels, regions: Sequence[Region], series: SeriesEvidence, study: Study, provenance: Provenance
) -> Dataset:
    grid = grid_of(series, study)
    wanted = (len(series.slices), int(grid.Rows), int(grid.Columns))
    if mask.shape != wanted:
        raise ReportError(f"{kind.name}: the mask has shape {mask.shape}, its series {wanted}")
    segments = np.zeros(mask.shape, np.uint8)
    for number, region in enumerate(regions, 1):
        segments[mask == region.label] = number
    content = kind.name.removeprefix("seg-")
    dataset = hd.seg.Segmentation(
        source_images=[grid],
        pixel_array=segments,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(n, region, kind, provenance) for n, region in enumerate(regions, 1)],
        omit_empty_frames=True,
        content_label=f"PVM_{content.upper()}",
        content_description=f"Paravertebral muscle analysis: {content}",
        **provenance.attributes(kind),
    )
    refer_to_sources(dataset, series)
    name_dimensions(dataset, provenance.uid(kind.name, "dimensions"))
    dataset.BodyPartExamined = study.header.get("BodyPartExamined") or "SPINE"  # else Laterality is wanted (type 2C)
    return provenance.finished(dataset)


def _description(number: int, region: Region, kind: Kind, provenance: Provenance) -> hd.seg.SegmentDescription:
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=region.name,
        segmented_property_category=region.category,
        segmented_property_type=region.type,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.algorithm.name,
            family=provenance.family,
            version=provenance.algorithm.version,
            source=provenance.settings.manufacturer,
            parameters=provenance.parameters(),
        ),
        tracking_uid=provenance.tracking_uid(region.tracking_identifier),
        tracking_id=region.tracking_identifier,
        anatomic_regions=None if region.site is None else [region.site],
        display_color=hd.color.CIELabColor.from_string(region.color),
    )
    if region.side is not None:  # highdicom has no argument for it; anywhere else dciodvfy warns
        side = [hd.sr.CodedConcept.from_code(LATERALITY[region.side])]
        if region.site is None:
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = side
        else:
            description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = side
    return description
