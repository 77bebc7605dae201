"""The places of lesions in space (TID 1410): a document of its own, for viewers that draw SCOORD3D and no segments.

In one container with the groups of the report, which refer to segments, PixelMed would take them for errors.
"""

from collections.abc import Iterator

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.dicom.headers import find_value
from node.findings import LesionFindings, Measurement
from node.report import codes
from node.report.contours import contours
from node.report.document import document
from node.report.provenance import OUTLINES, Provenance
from node.report.segmentations import LATERALITY, lesion_region
from node.report.sources import SeriesEvidence, Study

_Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
_OUTLINE = "POLYLINE"  # closed; at the POLYGON that PS3.3 C.18.9 has as well, OHIF 3.13 throws and draws nothing


def outlines(measurement: Measurement, series: SeriesEvidence, study: Study, provenance: Provenance) -> Dataset | None:
    """Return a point and the outlines of each lesion; None without a lesion.

    The point, the target of its biopsy path or its centre, has the track of the lesion. Each outline, of one slice, has
    a track of its own: of groups with the same one viewers show a single one.
    """
    frame_of_reference = str(series.headers[0].get("FrameOfReferenceUID") or "")
    if not measurement.findings.lesions or not frame_of_reference:
        return None
    groups = []
    for lesion in measurement.findings.lesions:
        place = lesion.centroid_mm if lesion.biopsy is None else lesion.biopsy.target_mm
        purpose = codes.CENTER_OF_MASS if lesion.biopsy is None else codes.TARGET
        point = hd.sr.ImageRegion3D("POINT", np.array([place]), frame_of_reference)
        groups.append(_group(lesion, lesion_region(lesion).tracking_identifier, point, provenance, purpose))
        for number, polygon in enumerate(_polygons(measurement, lesion, series), 1):
            name = f"{lesion_region(lesion).tracking_identifier}, outline {number}"
            region = hd.sr.ImageRegion3D(_OUTLINE, polygon, frame_of_reference)
            groups.append(_group(lesion, name, region, provenance))
    return document(OUTLINES, groups, (series,), study, provenance)


def _polygons(
    measurement: Measurement, lesion: LesionFindings, series: SeriesEvidence
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the outlines of a lesion in LPS millimetres, shape (n, 3), in the order of the slices."""
    if measurement.regions.lesions is None:
        return
    for mask, (index, frame) in zip(measurement.regions.lesions == lesion.number, series.slices, strict=True):
        header = series.headers[index]
        down_mm, right_mm = map(float, find_value(header, "PixelSpacing", frame))
        right, down = np.reshape([float(one) for one in find_value(header, "ImageOrientationPatient", frame)], (2, 3))
        corner = np.array([float(one) for one in find_value(header, "ImagePositionPatient", frame)])
        for outline in contours(mask):
            rows, columns = outline.T
            yield corner + np.outer(rows * down_mm, down) + np.outer(columns * right_mm, right)


def _group(
    lesion: LesionFindings,
    tracking_identifier: str,
    region: hd.sr.ImageRegion3D,
    provenance: Provenance,
    purpose: Code | None = None,
) -> _Group:
    vertebra = codes.vertebra(lesion.location.level) if lesion.location else None
    return _Group(
        tracking_identifier=hd.sr.TrackingIdentifier(provenance.tracking_uid(tracking_identifier), tracking_identifier),
        referenced_region=region,
        finding_type=codes.ENHANCING_LESION,
        finding_sites=[hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, LATERALITY[lesion.side], vertebra)],
        geometric_purpose=purpose,
    )
