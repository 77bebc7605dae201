"""The places of lesions (TID 1410): a document of its own, for viewers that draw coordinates and no segments.

Outlines are drawn on their images: OHIF 3.13 puts a shape in space on the first series of its frame of reference, which
is the localizer. In one container with the groups of the report, which refer to segments, PixelMed would take them for
errors.
"""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.findings import LesionFindings, Measurement
from node.report import codes
from node.report.document import document
from node.report.onimages import OUTLINE, outlines_of
from node.report.provenance import OUTLINES, Provenance
from node.report.segmentations import LATERALITY, lesion_region
from node.report.sources import SeriesEvidence, Study

_Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations


def outlines(measurement: Measurement, series: SeriesEvidence, study: Study, provenance: Provenance) -> Dataset | None:
    """Return a point in space and the outlines of each lesion; None without a lesion.

    The point, the target of its biopsy path or its centre, has the track of the lesion. Each outline, of one slice, has
    a track of its own: of groups with the same one viewers show a single one.
    """
    frame_of_reference = str(series.headers[0].get("FrameOfReferenceUID") or "")
    masks = measurement.regions.lesions
    if masks is None or not measurement.findings.lesions or not frame_of_reference:
        return None
    groups = []
    for lesion in measurement.findings.lesions:
        place = lesion.centroid_mm if lesion.biopsy is None else lesion.biopsy.target_mm
        purpose = codes.CENTER_OF_MASS if lesion.biopsy is None else codes.TARGET
        point = hd.sr.ImageRegion3D("POINT", np.array([place]), frame_of_reference)
        groups.append(_group(lesion, lesion_region(lesion).tracking_identifier, point, provenance, purpose))
        for number, outline in enumerate(outlines_of(masks == lesion.number, series), 1):
            name = f"{lesion_region(lesion).tracking_identifier}, outline {number}"
            region = hd.sr.ImageRegion(OUTLINE, outline.points, outline.image)
            groups.append(_group(lesion, name, region, provenance))
    return document(OUTLINES, groups, (series,), study, provenance)


def _group(
    lesion: LesionFindings,
    tracking_identifier: str,
    region: hd.sr.ImageRegion | hd.sr.ImageRegion3D,
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
