"""The places of lesions as points in space (TID 1410): a document of its own, for viewers that draw SCOORD3D.

In one container with the groups of the report, which refer to segments, PixelMed would take them for errors.
"""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from node.findings import Findings, LesionFindings
from node.report import codes
from node.report.document import document
from node.report.provenance import OUTLINES, Provenance
from node.report.segmentations import LATERALITY, lesion_region
from node.report.sources import SeriesEvidence, Study


def outlines(findings: Findings, series: SeriesEvidence, study: Study, provenance: Provenance) -> Dataset | None:
    """Return a point for each lesion: the target of its biopsy path, or its centre; None without a lesion."""
    frame_of_reference = series.headers[0].get("FrameOfReferenceUID")
    if not findings.lesions or not frame_of_reference:
        return None
    groups = [_point(lesion, str(frame_of_reference), provenance) for lesion in findings.lesions]
    return document(OUTLINES, groups, (series,), study, provenance)


def _point(
    lesion: LesionFindings, frame_of_reference: str, provenance: Provenance
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    tracking_identifier = lesion_region(lesion).tracking_identifier
    place = lesion.centroid_mm if lesion.biopsy is None else lesion.biopsy.target_mm
    vertebra = codes.vertebra(lesion.location.level) if lesion.location else None
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(provenance.tracking_uid(tracking_identifier), tracking_identifier),
        referenced_region=hd.sr.ImageRegion3D("POINT", np.array([place]), frame_of_reference),
        finding_type=codes.ENHANCING_LESION,
        finding_sites=[hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, LATERALITY[lesion.side], vertebra)],
        geometric_purpose=codes.CENTER_OF_MASS if lesion.biopsy is None else codes.TARGET,
    )
