"""The report itself: a Comprehensive 3D SR by TID 1500."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import highdicom as hd
from highdicom.sr import RelationshipTypeValues as Relationship
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

from node.dicom.headers import find_value
from node.findings import Findings, Outcome
from node.records import Predecessor
from node.report import codes, wording
from node.report.measurements import groups, quality
from node.report.provenance import REPORT, Kind, Provenance
from node.report.quantities import rounded
from node.report.sources import SeriesEvidence, Study

_SUMMARIES = {  # CID 6047: (something was refused, something was found)
    (False, False): codes.ALL_WITHOUT_FINDINGS,
    (False, True): codes.ALL_WITH_FINDINGS,
    (True, False): codes.SOME_WITHOUT_FINDINGS,
    (True, True): codes.SOME_WITH_FINDINGS,
}

_INPUTS = {
    frozenset({"pre", "post", "mrv"}): codes.PRE_POST_AND_VENOGRAPHY,
    frozenset({"pre", "post"}): codes.PRE_AND_POST,
    frozenset({"post", "mrv"}): codes.POST_AND_VENOGRAPHY,
    frozenset({"post"}): codes.POST_ONLY,
}

_QUALITY_FINDINGS = {  # the refusals and caveats (docs/analysis.md) for which CID 6315 has a word
    "ROLE-CONTRAST": codes.INADEQUATE_ENHANCEMENT,
    "CMP-TIME": codes.POOR_CONTRAST_TIMING,
    "IN-2": codes.INCOMPLETE_COVERAGE,
    "IN-7": codes.POOR_SNR,
}


def report(
    findings: Findings,
    study: Study,
    segmentations: Mapping[Kind, Dataset],
    provenance: Provenance,
    *,
    derived: Sequence[Dataset] = (),
    illustrations: Mapping[int | None, Dataset] = MappingProxyType({}),
    outlines: Mapping[str, hd.sr.CoordinatesForMeasurement] = MappingProxyType({}),
    companions: Sequence[Dataset] = (),
) -> Dataset:
    """Return the SR that tells `findings`, and refers to the segments of `segmentations`.

    Parameters
    ----------
    derived : sequence of Dataset
        Images made from the sources: parametric map and key images.
    illustrations : mapping of int or None to Dataset
        Key images by the number of their lesion; None: that of the examination.
    outlines : mapping of str to CoordinatesForMeasurement
        Where regions are seen on an image, by their Tracking Identifiers.
    companions : sequence of Dataset
        The other result objects, which no content item leads to: all that was made for the request is in the evidence.
    """
    return document(
        REPORT,
        groups(findings, segmentations, provenance, illustrations, outlines),
        study.series,
        study,
        provenance,
        results=tuple(segmentations.values()),
        derived=derived,
        companions=companions,
        answers=_qualitative_evaluations(findings),
        earlier=[Predecessor(one.study, one.series, one.sop_class, one.sop_instance) for one in findings.earlier],
    )


def document(
    kind: Kind,
    measurement_groups: Sequence[Any],
    series: Sequence[SeriesEvidence],
    study: Study,
    provenance: Provenance,
    *,
    results: Sequence[Dataset] = (),
    derived: Sequence[Dataset] = (),
    companions: Sequence[Dataset] = (),
    answers: hd.sr.ContainerContentItem | None = None,
    earlier: Sequence[Predecessor] = (),
) -> Dataset:
    """Return an SR by TID 1500 with `measurement_groups`, all of one template.

    Parameters
    ----------
    series : sequence of SeriesEvidence
        The sources that it is about.
    results, derived, companions : sequence of Dataset
        Objects of ours that are in its evidence; `derived` are listed in its image library.
    answers : ContainerContentItem or None
        What it says on the examination as a whole.
    earlier : sequence of Predecessor
        Reports of other studies that it compares with.
    """
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer(provenance)),
        procedure_reported=codes.PROCEDURE_REPORTED,
        imaging_measurements=measurement_groups,
        title=codes.REPORT_TITLE,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            hd.sr.CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    root = content[0].ContentSequence
    place = next(index for index, item in enumerate(root) if item.name == codes.IMAGING_MEASUREMENTS)
    for index, item in enumerate(_algorithm(provenance)):  # once for all groups (TID 1500); highdicom: for each
        root[place].ContentSequence.insert(index, item)
    root.insert(place, _image_library(series, study, derived))
    if answers is not None:
        root.append(answers)

    first, *others = (header for one in series for header in one.headers)
    dataset = hd.sr.Comprehensive3DSR(
        evidence=[study.standing_for(first), *others, *results, *derived, *companions],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,  # only a person can
        performed_procedure_codes=[codes.PROCEDURE_REPORTED],
        requested_procedures=study.requests() or None,
        **provenance.attributes(kind),
    )
    if provenance.predecessor is not None and kind is REPORT:
        dataset.PredecessorDocumentsSequence = [document_item(provenance.predecessor)]
    if earlier:
        dataset.PertinentOtherEvidenceSequence = [document_item(one) for one in earlier]
    return provenance.finished(dataset)


def document_item(earlier: Predecessor) -> Dataset:
    """Return the item that names an earlier report as predecessor or as other evidence (PS3.3 section C.17.2)."""
    study, series, instance = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = earlier.sop_class, earlier.sop_instance
    series.SeriesInstanceUID, series.ReferencedSOPSequence = earlier.series, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = earlier.study, [series]
    return study


def observer(provenance: Provenance) -> hd.sr.ObserverContext:
    """Return who observed: the device, TID 1002 and 1004."""
    return hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept.from_code(codes.DEVICE),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=provenance.device_uid,
            name=provenance.settings.model,
            manufacturer_name=provenance.settings.manufacturer,
            model_name=provenance.algorithm.name,
            serial_number=provenance.settings.serial_number,
        ),
    )


def _algorithm(provenance: Provenance) -> hd.sr.AlgorithmIdentification:
    return hd.sr.AlgorithmIdentification(
        name=provenance.algorithm.name,
        version=provenance.algorithm.version,
        parameters=[f"{name}={value}" for name, value in provenance.parameters().items()],
        family=provenance.family,
    )


def _image_library(
    sources: Sequence[SeriesEvidence], study: Study, derived: Sequence[Dataset]
) -> hd.sr.ContainerContentItem:
    """Return TID 1600: a group for each series, with its descriptors once; and one for the derived images.

    That one has no Modality: "OT" is not in CID 29.

    highdicom repeats them for every image. That made 319 kB of 58 for 72 images, and PixelMed ran out of memory.
    """
    groups = [
        _container(
            codes.IMAGE_LIBRARY_GROUP,
            [*_descriptors(series.headers[0], study), *(_source(header) for header in series.headers)],
        )
        for series in sources
    ]
    if derived:
        groups.append(_container(codes.IMAGE_LIBRARY_GROUP, [_source(one) for one in derived]))
    return _container(codes.IMAGE_LIBRARY, groups)


def _descriptors(header: Dataset, study: Study) -> Iterator[hd.sr.ContentItem]:
    """Yield TID 1602, 1604 and 1606, as far as the headers know them."""
    context = Relationship.HAS_ACQ_CONTEXT
    yield hd.sr.CodeContentItem(codes.MODALITY, codes.MAGNETIC_RESONANCE, context)
    if study.header.StudyDate:
        yield hd.sr.DateContentItem(codes.STUDY_DATE, DA(study.header.StudyDate), context)
    if study.header.StudyTime:
        yield hd.sr.TimeContentItem(codes.STUDY_TIME, TM(study.header.StudyTime), context)
    if frame_of_reference := header.get("FrameOfReferenceUID"):
        yield hd.sr.UIDRefContentItem(codes.FRAME_OF_REFERENCE_UID, frame_of_reference, context)
    vertical, horizontal = find_value(header, "PixelSpacing") or (None, None)
    orientation = zip(codes.IMAGE_ORIENTATION, find_value(header, "ImageOrientationPatient") or (), strict=False)
    for name, value, unit in (
        (codes.PIXEL_DATA_ROWS, header.get("Rows"), codes.PIXELS),
        (codes.PIXEL_DATA_COLUMNS, header.get("Columns"), codes.PIXELS),
        (codes.HORIZONTAL_PIXEL_SPACING, horizontal, codes.MILLIMETER),
        (codes.VERTICAL_PIXEL_SPACING, vertical, codes.MILLIMETER),
        (codes.SPACING_BETWEEN_SLICES, find_value(header, "SpacingBetweenSlices"), codes.MILLIMETER),
        (codes.SLICE_THICKNESS, find_value(header, "SliceThickness"), codes.MILLIMETER),
        *((name, cosine, codes.DIRECTION_COSINE) for name, cosine in orientation),
    ):
        if value is not None:
            yield hd.sr.NumContentItem(name, rounded(float(value)), unit, relationship_type=context)


def _source(header: Dataset) -> hd.sr.ImageContentItem:
    return hd.sr.ImageContentItem(
        codes.SOURCE, header.SOPClassUID, header.SOPInstanceUID, relationship_type=Relationship.CONTAINS
    )


def _qualitative_evaluations(findings: Findings) -> hd.sr.ContainerContentItem:
    """Return TID 1500 rows 12 to 14: codes for machines first, then sentences for readers."""
    answers = [
        (codes.PROCESSING_SUMMARY, _processing_summary(findings)),
        (codes.STUDY_QUALITY, quality(findings)),
    ]
    if inputs := _INPUTS.get(frozenset(findings.inputs)):
        answers.append((codes.INPUT_COMPLETENESS, inputs))
    noted = (_QUALITY_FINDINGS.get(note.code) for note in (*findings.refusals, *findings.caveats))
    answers += [(codes.QUALITY_FINDING, code) for code in dict.fromkeys(noted) if code]

    sentences = [
        (codes.SUMMARY, wording.summary(findings)),
        (codes.INTENDED_USE, wording.INTENDED_USE),
        (codes.GRADE, wording.grade(findings)),
        *((codes.EMG_SUSPICION, wording.suspicion(one, findings.answer)) for one in (findings.suspicion,) if one),
        (codes.LEVEL_BASIS, wording.level_basis(findings)),
        *((codes.FINDING, wording.lesion(lesion)) for lesion in findings.lesions),
        (codes.COMPARISON, wording.comparison(findings)),
        *((codes.CHANGE, line) for line in wording.changes(findings)),
        *((codes.FINDING, wording.muscle(muscle)) for muscle in findings.muscles),
        *((codes.MUSCLE_BY_LEVEL, line) for line in wording.levels(findings.levels)),
        *((codes.BIOPSY_PATH, wording.biopsy(one, one.biopsy)) for one in findings.lesions if one.biopsy),
    ]
    if findings.grade or findings.lesions:
        sentences.append((codes.DIFFERENTIAL, wording.DIFFERENTIAL))
    sentences += [(codes.NOT_MEASURED, wording.note(refusal)) for refusal in findings.refusals]
    sentences += [(codes.LIMITATION, wording.note(caveat)) for caveat in findings.caveats]
    sentences += [(codes.QUALITY_CHECK, wording.gate(gate)) for gate in findings.gates]

    contains = Relationship.CONTAINS
    return _container(
        codes.QUALITATIVE_EVALUATIONS,
        [
            *(hd.sr.CodeContentItem(name, value, contains) for name, value in answers),
            *(hd.sr.TextContentItem(name, text, contains) for name, text in sentences),
        ],
    )


def _processing_summary(findings: Findings) -> Code:
    if findings.outcome is Outcome.REFUSED:
        return codes.NONE_SUCCEEDED
    return _SUMMARIES[bool(findings.refusals), findings.outcome is Outcome.FINDINGS]


def _container(name: Code, items: Sequence[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    container = hd.sr.ContainerContentItem(name, relationship_type=Relationship.CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(items)
    return container
