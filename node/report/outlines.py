"""The places of lesions (TID 1410): a document of its own, for viewers that draw coordinates and no segments.

They are drawn on their images: OHIF 3.13 puts what lies in space (SCOORD3D) on the first series of its frame of
reference, a localizer. So the point of a lesion is told on its image first, and then in space, where OHIF does not
look; TID 1410 is extensible. In one container with the groups of the report, which refer to segments, PixelMed would
take them for errors.
"""

import highdicom as hd
import numpy as np
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.findings import LesionFindings, Measurement
from node.report import codes
from node.report.document import document
from node.report.onimages import OUTLINE, POINT, OnImage, outlines_of, point_of
from node.report.provenance import OUTLINES, Provenance
from node.report.segmentations import LATERALITY, lesion_region
from node.report.sources import SeriesEvidence, Study

_Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations


def outlines(measurement: Measurement, series: SeriesEvidence, study: Study, provenance: Provenance) -> Dataset | None:
    """Return a point and the outlines of each lesion; None without a lesion.

    The point, on its image and in space, has the track of the lesion. It is the target of its biopsy path, the centre
    of a voxel; or else its centre, on the image nearest to that. Each outline, of one slice, has a track of its own: of
    groups with the same one viewers show a single one.
    """
    frame_of_reference = str(series.headers[0].get("FrameOfReferenceUID") or "")
    masks = measurement.regions.lesions
    if masks is None or not measurement.findings.lesions:
        return None
    groups = []
    for lesion in measurement.findings.lesions:
        place_mm = lesion.centroid_mm if lesion.biopsy is None else lesion.biopsy.target_mm
        purpose = codes.CENTER_OF_MASS if lesion.biopsy is None else codes.TARGET
        name = lesion_region(lesion).tracking_identifier
        group = _group(lesion, name, POINT, point_of(place_mm, series), provenance, purpose)
        if frame_of_reference:
            group[0].ContentSequence.append(
                hd.sr.Scoord3DContentItem(
                    purpose, "POINT", np.array([place_mm]), frame_of_reference, relationship_type=Relationship.CONTAINS
                )
            )
        groups.append(group)
        for number, outline in enumerate(outlines_of(masks == lesion.number, series), 1):
            groups.append(_group(lesion, f"{name}, outline {number}", OUTLINE, outline, provenance))
    return document(OUTLINES, groups, (series,), study, provenance)


def _group(
    lesion: LesionFindings,
    tracking_identifier: str,
    shape: str,
    place: OnImage,
    provenance: Provenance,
    purpose: Code | None = None,
) -> _Group:
    vertebra = codes.vertebra(lesion.location.level) if lesion.location else None
    return _Group(
        tracking_identifier=hd.sr.TrackingIdentifier(provenance.tracking_uid(tracking_identifier), tracking_identifier),
        referenced_region=hd.sr.ImageRegion(shape, place.points, place.image),
        finding_type=codes.ENHANCING_LESION,
        finding_sites=[hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, LATERALITY[lesion.side], vertebra)],
        geometric_purpose=purpose,
    )
