"""The result objects of a job as files that people can open: to look at before they decide about them.

Nothing is changed. What was delivered long ago may have been dropped, but for the report (`delivery.retention`).
"""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from node import process
from node.errors import RulingError, SpoolError
from node.ledger import open_database
from node.ledger.rulings import Rulings
from node.settings import Settings
from node.spool import Results


def export(settings: Settings, job: str, folder: Path) -> int:
    """Write the result objects of a job into an empty or new folder, and return how many were there.

    Beside an object lies what needs no viewer: a picture (PNG), the PDF, the sentences of a report (TXT).

    Raises
    ------
    RulingError
        If there is no such job with results.
    SpoolError
        If the folder holds anything, or cannot be written.
    """
    data_dir = process.worked_data_dir(settings)
    records = Rulings(open_database(data_dir / process.DATABASE)).results(job)
    results = Results(data_dir / process.RESULTS)
    if not records:
        raise RulingError(f"{job}: there is no such job with results")
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise SpoolError("files of this job would lie among others: name an empty or new folder")
        for number, one in enumerate(records, start=1):
            if not results.has(one.path):
                continue
            file = folder / f"{number:02d}-{one.role}.dcm"
            file.touch(mode=0o600)
            file.write_bytes(results.path_of(one.path).read_bytes())
            _write_beside(dcmread(file), file)
            written += 1
    except OSError as error:
        raise SpoolError(f"the folder cannot be written: {error.strerror}") from error
    return written


def _write_beside(made: Dataset, file: Path) -> None:
    if made.SOPClassUID == SecondaryCaptureImageStorage:
        Image.fromarray(made.pixel_array).save(file.with_suffix(".png"))
    elif made.SOPClassUID == EncapsulatedPDFStorage:
        file.with_suffix(".pdf").write_bytes(made.EncapsulatedDocument[: made.EncapsulatedDocumentLength])
    elif made.Modality == "SR":
        file.with_suffix(".txt").write_text("".join(f"{line}\n" for line in _sentences(made)), encoding="utf-8")


def _sentences(item: Dataset) -> Iterator[str]:
    """Yield the texts of a content tree, each behind the name of its concept, but for the dozens of parameters."""
    for one in item.get("ContentSequence", ()):
        if one.ValueType == "TEXT" and (name := one.ConceptNameCodeSequence[0].CodeMeaning) != "Algorithm Parameters":
            yield f"{name}: {one.TextValue}"
        yield from _sentences(one)
