"""The past: what a job is given of a patient's earlier examinations: reports, and images that they outlined, as files.

Which of them are the patient's for certain, and are compared with, is told in the sandboxed step (`priors`).
"""

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from pydicom.dataset import Dataset

from node.dicom.moments import study_began
from node.errors import SpoolError
from node.jobs.priors import MOST_COMPARED, instances_outlined, may_be_prior
from node.jobs.steps import InputFile
from node.ledger.priors import Priors
from node.records import Place
from node.spool import Results, SpoolReader, read_header


def spool_file(spool: SpoolReader, place: Place, view: memoryview) -> InputFile:
    """Return a record of the spool, of which `view` is the content, as a file."""
    segment, offset = spool.path_of(place)
    return InputFile(segment, hashlib.sha256(view).hexdigest(), offset, len(view))


def result_file(results: Results, path: str) -> InputFile:
    """Return a result as a file."""
    content = results.path_of(path)
    return InputFile(content, content.stem)  # a result is named by the digest of its content


class Past:
    """Looks for them in the ledger and on disk."""

    def __init__(self, priors: Priors, spool: SpoolReader, results: Results) -> None:
        self._priors, self._spool, self._results = priors, spool, results

    def reports(self, job_id: str, moment: str) -> Iterator[tuple[InputFile, Dataset]]:
        """Yield the reports of the patient's studies before a moment; one that cannot be read stops no measurement.

        Of a later one nothing may be told; but it would make another digest, and with it another report of the same.
        """
        for path in self._priors.made(job_id):
            with contextlib.suppress(SpoolError):
                one = result_file(self._results, path)
                if report := _prior(memoryview(one.read()), moment):
                    yield one, report
        for place in self._priors.received(job_id):
            with contextlib.suppress(SpoolError):
                view = self._spool.read(place)
                if report := _prior(view, moment):
                    yield spool_file(self._spool, place, view), report

    def images(self, job_id: str, reports: Mapping[InputFile, Dataset]) -> Iterator[tuple[str, tuple[InputFile, ...]]]:
        """Yield, by the digest of a report, the instances that its lesions were outlined on; of the newest studies.

        Those are the newest of each name under the Patient ID: which of them is the patient is told in the step.
        """
        outlined = {file: uids for file, report in reports.items() if (uids := _outlined(report))}
        newest = defaultdict[tuple[str, ...], set[tuple[str, str]]](set)
        for report in map(reports.__getitem__, outlined):
            newest[_whose(report)].add((study_began(report), _study_of(report)))
        compared = {study for each in newest.values() for _began, study in sorted(each, reverse=True)[:MOST_COMPARED]}
        held: dict[tuple[str, frozenset[str]], tuple[InputFile, ...]] = {}  # revisions of a report speak of the same
        for file, uids in outlined.items():
            study, which = _study_of(reports[file]), frozenset(uids)
            if study not in compared:
                continue
            if (study, which) not in held:
                held[study, which] = self._held(job_id, study, which)
            if files := held[study, which]:
                yield file.sha256, files

    def _held(self, job_id: str, study: str, instances: Collection[str]) -> tuple[InputFile, ...]:
        """Return instances of an earlier study, or none: in a part of a series no place could be told for sure."""
        try:
            places = self._priors.images(job_id, study, instances)
            return tuple(spool_file(self._spool, place, self._spool.read(place)) for place in places)
        except SpoolError:
            return ()


def _prior(view: memoryview, moment: str) -> Dataset | None:
    """Return a report that may be a prior; None if it is none."""
    try:
        report = read_header(view)
        return report if may_be_prior(report, moment) else None
    except Exception:  # what peers send may break pydicom anywhere; it is none of ours then
        return None


def _study_of(report: Dataset) -> str:
    return str(report.get("StudyInstanceUID") or "")


def _whose(report: Dataset) -> tuple[str, ...]:
    try:
        return tuple(str(report.get(keyword) or "") for keyword in ("PatientName", "PatientBirthDate", "PatientSex"))
    except Exception:  # what peers send may break pydicom anywhere
        return ()


def _outlined(report: Dataset) -> list[str]:
    try:
        return instances_outlined(report)
    except Exception:  # likewise
        return []
