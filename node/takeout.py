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
from node.report.gate.reading import content
from node.settings import Settings
from node.spool import Results


def export(settings: Settings, job: str, folder: Path) -> tuple[int, int]:
    """Write the result objects of a job into an empty or new folder; return how many, and how many there are.

    Beside an object lies what needs no viewer: a picture (PNG), the PDF, the sentences of a report (TXT).

    Raises
    ------
    RulingError
        If there is no such job with results, or the folder holds anything.
    SpoolError
        If the folder cannot be written; if an object that no destination has is missing, or one is
        not on disk as it was made.
    """
    data_dir = process.worked_data_dir(settings)
    rulings = Rulings(open_database(data_dir / process.DATABASE))
    records, delivered = rulings.results(job), rulings.delivered(job)
    results = Results(data_dir / process.RESULTS)
    if not records:
        raise RulingError(f"{job}: there is no such job with results")
    wanted = [
        (number, one)
        for number, one in enumerate(records, start=1)
        if results.has(one.path) or one.sop_instance not in delivered
    ]
    for _, one in wanted:
        results.path_of(one.path)  # before anything is written
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise RulingError("files of this job would lie among others: name an empty or new folder")
        for number, one in wanted:
            file = folder / f"{number:02d}-{one.role}.dcm"
            file.write_bytes(results.read(one.path))
            _write_beside(dcmread(file), file)
    except OSError as error:
        raise SpoolError(f"a result cannot be read, or the folder not be written: {error.strerror}") from error
    return len(wanted), len(records)


def _write_beside(made: Dataset, file: Path) -> None:
    if made.SOPClassUID == SecondaryCaptureImageStorage:
        Image.fromarray(made.pixel_array).save(file.with_suffix(".png"))
    elif made.SOPClassUID == EncapsulatedPDFStorage:
        file.with_suffix(".pdf").write_bytes(made.EncapsulatedDocument[: made.EncapsulatedDocumentLength])
    elif made.Modality == "SR":
        file.with_suffix(".txt").write_text("".join(f"{line}\n" for line in _sentences(made)), encoding="utf-8")


def _sentences(report: Dataset) -> Iterator[str]:
    """Yield the texts of a report, each behind the name of its concept, but for the dozens of parameters."""
    for one in content(report):
        if one.ValueType == "TEXT" and (name := one.ConceptNameCodeSequence[0].CodeMeaning) != "Algorithm Parameters":
            yield f"{name}: {one.TextValue}"
