"""DICOM instances for tests, as small as a test allows, and how they come into spool and ledger without a network."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.records import Origin
from node.spool import RecordHeader, Spool

STUDY = "2.25.1000"
FRAME = "2.25.1000.9"
SECRET = "SECRET^PATIENT"  # a name that must never be seen in a log or on a screen


def mr(sop_instance: str = "2.25.1", *, study: str = STUDY, series: str = f"{STUDY}.1", **attributes: Any) -> Dataset:
    """Return one MR instance of 8 x 8 pixels; attributes by keyword win, None leaves one out."""
    values: dict[str, Any] = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": sop_instance,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "PatientName": SECRET,
        "PatientID": "SECRET-ID",
        "StudyDate": "20260102",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "RepetitionTime": 550,
        "EchoTime": 12,
        "FrameOfReferenceUID": FRAME,
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": 4.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": np.arange(64, dtype="<u2").tobytes(),
    }
    made = Dataset()
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", MRImageStorage)
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", sop_instance)
    made.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian)
    return made


def series_of(number: int, *, slices: int = 6, study: str = STUDY, **attributes: Any) -> Iterator[Dataset]:
    """Yield the instances of an axial series, from foot to head, 4 mm apart."""
    series = f"{study}.{number}"
    for k in range(slices):
        position = {"ImagePositionPatient": [0.0, 0.0, 4.0 * k]}
        yield mr(f"{series}.{k + 1}", study=study, series=series, SeriesNumber=number, **(position | attributes))


def part10(dataset: Dataset) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def data_set_bytes(content: bytes) -> bytes:
    """Return what follows the file meta information of a Part 10 file, byte for byte."""
    group_length = int.from_bytes(content[140:144], "little")  # value of (0002,0000), PS3.10 section 7.1
    return content[144 + group_length :]


ORIGIN = Origin(
    transfer_syntax=ExplicitVRLittleEndian,
    sop_class=MRImageStorage,
    sop_instance="2.25.1",
    study=STUDY,
    series=f"{STUDY}.1",
    patient_id="SECRET-ID",
    issuer="",
    calling_ae="MR1",
    called_ae="PARASPINAL",
    address="127.0.0.1",
)


def origin_of(dataset: Dataset) -> Origin:
    """Return what comes with an instance."""
    return replace(
        ORIGIN,
        sop_class=dataset.SOPClassUID,
        sop_instance=dataset.SOPInstanceUID,
        study=dataset.StudyInstanceUID,
        series=dataset.SeriesInstanceUID,
        patient_id=dataset.get("PatientID", ""),
        issuer=dataset.get("IssuerOfPatientID", ""),
    )


def record(
    spool: Spool,
    content: bytes,
    origin: Origin = ORIGIN,
    *,
    head_length: int = 0,
    now: float = 0.0,
    enter: Callable[[RecordHeader], None] | None = None,
) -> RecordHeader:
    """Make Part 10 bytes durable in the spool."""
    recording = spool.begin()
    recording.add(content)
    return recording.commit(origin, head_length=head_length, now=now, enter=enter)


def receive(spool: Spool, ledger: Ledger, dataset: Dataset, *, now: float, content: bytes | None = None) -> None:
    """Record an instance and enter it; `content` stands in for its bytes."""
    header = record(spool, part10(dataset) if content is None else content, origin_of(dataset), now=now)
    Arrivals(ledger.database).enter([header.received(contradicts=False)], now=now)
