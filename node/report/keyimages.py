"""Key images and what points to them: Secondary Captures of the pages, and the Key Object Selection.

An archive that shows no SR still shows these. Nothing in the pixels names the patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from node.dicom.headers import find_value
from node.findings import Measurement, Outcome, Picture
from node.report import codes
from node.report.grids import reference
from node.report.pages import draw_lesion, draw_overview
from node.report.provenance import KEY_IMAGES, KEY_OBJECTS, Provenance
from node.report.sources import SeriesEvidence, Study


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A drawn page.

    Parameters
    ----------
    image : Image
        RGB.
    lesion : int or None
        Number of the lesion that it is about; None: the examination.
    source : Dataset
        Header of the acquired slice that it shows, or that is nearest to it.
    """

    image: Image.Image
    lesion: int | None
    source: Dataset


def draw_pages(measurement: Measurement, study: Study) -> tuple[Page, ...]:
    """Return the overview and a page for each lesion that has a picture."""
    findings, pictures = measurement.findings, measurement.pictures
    if not pictures:
        return ()
    series = study.series_of(measurement.regions.reference)
    axial = {one.lesion: one for one in pictures if one.plane == "axial"}
    drawn: list[tuple[Image.Image | None, int | None]] = [(draw_overview(findings, pictures), None)]
    drawn += [(draw_lesion(lesion, findings, pictures), lesion.number) for lesion in findings.lesions]
    return tuple(
        Page(image, number, _nearest(series, axial[number])) for image, number in drawn if image is not None
    )  # fmt: skip


def key_images(pages: Sequence[Page], measurement: Measurement, study: Study, provenance: Provenance) -> list[Dataset]:
    """Return the pages as Secondary Captures, in one series; none without a finding."""
    if measurement.findings.outcome is not Outcome.FINDINGS:
        return []
    return [_capture(page, number, study, provenance) for number, page in enumerate(pages, 1)]


def _capture(page: Page, number: int, study: Study, provenance: Provenance) -> Dataset:
    header = study.standing_for(page.source)
    common = {key: value for key, value in provenance.attributes(KEY_IMAGES, number).items() if key in _OF_CAPTURE}
    dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=header,
        pixel_array=np.asarray(page.image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P") if page.lesion else ("L", "F"),  # of the first panel; each shows its own
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        specific_character_set=header.SpecificCharacterSet,
        **common,
    )
    dataset.copy_patient_and_study_information(header)
    dataset.SeriesDescription = KEY_IMAGES.description
    dataset.SeriesDate, dataset.SeriesTime = DA(provenance.moment.date()), TM(provenance.moment.time())
    dataset.ContentDate, dataset.ContentTime = dataset.SeriesDate, dataset.SeriesTime
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.SeriesDate, dataset.SeriesTime
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "YES"  # what was measured; nothing that names the patient
    dataset.ConversionType = "WSD"
    shown = "overview" if page.lesion is None else f"lesion {page.lesion}"
    dataset.DerivationDescription = f"Automatic analysis, {shown}: drawn from the source images"
    dataset.ImageComments = f"{shown}; investigational, not for diagnostic use"
    source = reference(page.source)
    source.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(codes.SOURCE_OF_PROCESSING)]
    dataset.SourceImageSequence = [source]
    dataset.BodyPartExamined = study.header.get("BodyPartExamined") or "SPINE"
    return provenance.finished(dataset)


_OF_CAPTURE = frozenset(
    {
        "series_instance_uid", "series_number", "sop_instance_uid", "instance_number", "manufacturer",
        "manufacturer_model_name", "software_versions", "device_serial_number", "institution_name",
        "contributing_equipment",
    }
)  # fmt: skip


def key_objects(
    pages: Sequence[Page],
    captures: Sequence[Dataset],
    study: Study,
    provenance: Provenance,
    observer: hd.sr.ObserverContext,
) -> Dataset:
    """Return the Key Object Selection that points to the captures and to the acquired slices that they show."""
    sources = list({str(page.source.SOPInstanceUID): page.source for page in pages}.values())
    shown = [study.standing_for(source) for source in sources]
    content = hd.ko.KeyObjectSelection(
        document_title=codes.OF_INTEREST,
        referenced_objects=[*captures, *shown],
        observer_device_context=observer,
        description="Automatic analysis, not reviewed: pictures of enhancing paravertebral muscle, and their slices.",
    )
    common = provenance.attributes(KEY_OBJECTS)
    dataset = hd.ko.KeyObjectSelectionDocument(evidence=[*shown, *captures], content=content, **common)
    for item in dataset.ContentSequence:
        if item.ValueType == "IMAGE":
            del item.ConceptNameCodeSequence  # TID 2010 row 8 has none; highdicom writes one
    dataset.copy_patient_and_study_information(study.header)
    return provenance.finished(dataset)


def _nearest(series: SeriesEvidence, picture: Picture) -> Dataset:
    """Return the header of the slice that is nearest to the middle of a picture."""
    rows, columns = next(iter(picture.layers.values())).shape
    middle = (
        np.array(picture.origin_mm)
        + rows / 2 * np.array(picture.down_mm)
        + columns / 2 * np.array(picture.right_mm)
    )  # fmt: skip
    index, frame = series.slices[0]
    along = np.array([float(one) for one in find_value(series.headers[index], "ImageOrientationPatient", frame)])
    normal = np.cross(along[:3], along[3:])

    def distance_mm(place: tuple[int, int]) -> float:
        position = find_value(series.headers[place[0]], "ImagePositionPatient", place[1])
        return abs(float((np.array([float(one) for one in position]) - middle) @ normal))

    return series.headers[min(series.slices, key=distance_mm)[0]]
