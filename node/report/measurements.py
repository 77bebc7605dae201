"""Measurement groups of the report: one for each lesion, one for each side's muscles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.findings import POSTERIOR, Findings, Kinetics, LesionFindings, MuscleFindings, Outcome, Side
from node.report import codes
from node.report.provenance import Kind, Provenance
from node.report.quantities import DERIVATIONS, Quantity, of_lesion, of_level, of_muscle, rounded
from node.report.segmentations import LATERALITY, lesion_region, muscle_region

Group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations

_EXAMINATION = "PVM exam"  # Tracking Identifier of the group that stands for the examination
_CURVES = {"persistent": codes.PERSISTENT, "plateau": codes.PLATEAU, "wash-out": codes.WASHOUT}
# Inferred from an outline, too (TID 320). OHIF 3.13 shows no other number of a group, and no report that has none.
_SHOWN = (
    (codes.VOLUME, codes.SUM_OF_VOXELS),
    (codes.LONG_AXIS, codes.IN_PLANE_DIAMETERS),
    (codes.ENHANCEMENT, codes.MEDIAN),
)
_RECOGNITIONS = {
    "place": codes.BY_PLACE,
    "registration": codes.BY_REGISTRATION,
    "level": codes.BY_LEVEL_AND_DEPTH,
}


@dataclass(frozen=True, slots=True)
class _Group:
    """What one measurement group says, in whichever template."""

    tracking_identifier: str
    finding: Code
    side: Side | None
    quantities: tuple[Quantity, ...] = ()
    evaluations: tuple[tuple[Code, Code], ...] = ()  # names and values
    vertebra: Code | None = None
    lesion: int | None = None  # its number


def groups(
    findings: Findings,
    segmentations: Mapping[Kind, Dataset],
    provenance: Provenance,
    illustrations: Mapping[int | None, Dataset],
    outlines: Mapping[str, hd.sr.CoordinatesForMeasurement],
) -> list[Group]:
    """Return the groups of "Imaging Measurements": lesions, muscles, or one for the examination.

    All are of one template, TID 1411 if every one has its segment and TID 1501 otherwise, because PixelMed decides
    the template per container and reports errors for a mixture. An examination without regions still has a group:
    highdicom and OHIF open no report without.

    `outlines` are the coordinates of regions, by their Tracking Identifiers.
    """
    muscles = (_muscle(muscle, findings.levels) for muscle in findings.muscles)
    planned = [*map(_lesion, findings.lesions), *muscles] or [_examination(findings)]
    segments = _referenced_segments(segmentations)
    regional = all(group.tracking_identifier in segments for group in planned)
    if not regional:
        return [_built(group, provenance, None, outlines.get(group.tracking_identifier)) for group in planned]
    built = []
    for group in planned:
        segment, outline = segments[group.tracking_identifier], outlines.get(group.tracking_identifier)
        built.append(_built(group, provenance, segment, outline))
        if image := illustrations.get(group.lesion):
            built[-1][0].ContentSequence.append(_illustration(image))  # TID 1411 row 13; highdicom has no argument
    return built


def _illustration(image: Dataset) -> hd.sr.ImageContentItem:
    return hd.sr.ImageContentItem(
        codes.ILLUSTRATION, image.SOPClassUID, image.SOPInstanceUID, relationship_type=Relationship.CONTAINS
    )


def quality(findings: Findings) -> Code:
    """Return how good the images were for this analysis. A caveat weakens a finding, not the images."""
    if findings.outcome is Outcome.REFUSED:
        return codes.NON_DIAGNOSTIC_QUALITY
    limited = findings.refusals or not all(gate.passed for gate in findings.gates)
    return codes.LIMITED_QUALITY if limited else codes.DIAGNOSTIC_QUALITY


def _lesion(lesion: LesionFindings) -> _Group:
    return _Group(
        lesion_region(lesion).tracking_identifier,
        codes.ENHANCING_LESION,
        lesion.side,
        of_lesion(lesion),
        (
            *_focal(lesion),
            *_curve(lesion.kinetics),
            *_vascularity(lesion),
            *_drained(lesion),
            *_recognized(lesion),
        ),
        codes.vertebra(lesion.location.level) if lesion.location else None,
        lesion.number,
    )


def _focal(lesion: LesionFindings) -> tuple[tuple[Code, Code], ...]:
    """Return the pattern of its enhancement, if that was measured: what is only bright may be fat."""
    return () if lesion.enhancement_pct is None else ((codes.ENHANCEMENT_PATTERN, codes.FOCAL_ENHANCEMENT),)


def _curve(found: Kinetics | None) -> tuple[tuple[Code, Code], ...]:
    return ((codes.ENHANCEMENT_PATTERN, _CURVES[found.curve]),) if found and found.curve else ()


def _drained(lesion: LesionFindings) -> tuple[tuple[Code, Code], ...]:
    if lesion.draining_vessel is None:
        return ()
    return ((codes.DRAINING_VESSEL, codes.PRESENT if lesion.draining_vessel else codes.ABSENT),)


def _recognized(lesion: LesionFindings) -> tuple[tuple[Code, Code], ...]:
    if lesion.prior is None:
        return ()
    return ((codes.RECOGNIZED, _RECOGNITIONS[lesion.prior.by]),)


def _vascularity(lesion: LesionFindings) -> tuple[tuple[Code, Code], ...]:
    if lesion.vessel_fraction_pct is None:
        vessels = codes.VASCULARITY_NOT_ASSESSED
    elif lesion.vessel_fraction_pct > 0:
        vessels = codes.VASCULARITY_IN_LESION
    else:
        vessels = codes.VASCULARITY_NOT_PRESENT
    if lesion.vascularity_increased is None:
        return ((codes.VASCULARITY, vessels),)
    increased = codes.INCREASED if lesion.vascularity_increased else codes.NOT_INCREASED
    return (codes.VASCULARITY, vessels), (codes.VENOGRAPHY_VASCULARITY, increased)


def _muscle(muscle: MuscleFindings, levels: Sequence[MuscleFindings]) -> _Group:
    """Return the group of one side's muscles; what its levels do is told in it, for they have no segments."""
    rows = [row for row in levels if row.side is muscle.side and row.muscle == POSTERIOR]
    diffuse = muscle.diffuse or any(row.diffuse for row in rows)
    return _Group(
        muscle_region(muscle.side).tracking_identifier,
        codes.MUSCLE,
        muscle.side,
        (*of_muscle(muscle), *(one for row in rows for one in of_level(row))),
        (
            *(((codes.ENHANCEMENT_PATTERN, codes.DIFFUSE_ENHANCEMENT),) if diffuse else ()),
            *_curve(muscle.kinetics),
        ),
    )


def _examination(findings: Findings) -> _Group:
    return _Group(_EXAMINATION, codes.MUSCLE, None, evaluations=((codes.SERIES_QUALITY, quality(findings)),))


def _built(
    group: _Group,
    provenance: Provenance,
    segment: hd.sr.ReferencedSegment | None,
    outline: hd.sr.CoordinatesForMeasurement | None,
) -> Group:
    tracking = hd.sr.TrackingIdentifier(provenance.tracking_uid(group.tracking_identifier), group.tracking_identifier)
    laterality = None if group.side is None else LATERALITY[group.side]
    numbers = {one: _measured(one, one.value, outline is not None) for one in group.quantities if one.value is not None}
    content: dict[str, Any] = {
        "tracking_identifier": tracking,
        "finding_type": group.finding,
        "finding_sites": [hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, laterality, group.vertebra)],
        "measurements": [*numbers.values()],
        "qualitative_evaluations": [hd.sr.QualitativeEvaluation(name, value) for name, value in group.evaluations],
    }
    built: Group
    if segment is None:
        built = hd.sr.MeasurementsAndQualitativeEvaluations(**content)
    else:
        built = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **content)
    for quantity, number in numbers.items():
        if outline is not None and (quantity.name, quantity.how) in _SHOWN:
            # TID 1419 is extensible, but highdicom takes none with a segment.
            number[0].ContentSequence = hd.sr.ContentSequence([*number[0].get("ContentSequence", ()), outline])
    return built


def _measured(one: Quantity, value: float, has_outline: bool) -> hd.sr.Measurement:
    # OHIF 3.11 and 3.12 find an outline only where nothing else stands below a number: there a volume has no method.
    is_told_how = not (has_outline and one.name == codes.VOLUME)
    return hd.sr.Measurement(
        one.name,
        rounded(value),
        one.unit,
        derivation=one.how if one.how in DERIVATIONS else None,
        method=one.how if one.how not in DERIVATIONS and is_told_how else None,
        finding_sites=_site(one),
    )


def _site(quantity: Quantity) -> list[hd.sr.FindingSite] | None:
    if quantity.side is None:
        return None  # that of its group
    return [hd.sr.FindingSite(codes.DEEP_BACK_MUSCLE, LATERALITY[quantity.side], quantity.vertebra)]


def _referenced_segments(segmentations: Mapping[Kind, Dataset]) -> dict[str, hd.sr.ReferencedSegment]:
    """Return a reference to each segment, by its Tracking Identifier."""
    return {
        segment.TrackingID: _referenced_segment(dataset, segment.SegmentNumber)
        for dataset in segmentations.values()
        for segment in dataset.SegmentSequence
    }


def _referenced_segment(dataset: Dataset, number: int) -> hd.sr.ReferencedSegment:
    """Return the reference to a segment and the *series* it was drawn on; highdicom would list every image."""
    source = hd.sr.SourceSeriesForSegmentation(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID)
    # highdicom's meaning is spelled otherwise than that of PS3.16
    source.ConceptNameCodeSequence = [hd.sr.CodedConcept.from_code(codes.SOURCE_SERIES)]
    return hd.sr.ReferencedSegment(dataset.SOPClassUID, dataset.SOPInstanceUID, number, source_series=source)
