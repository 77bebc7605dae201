"""The bundle: all result objects of one analysis, in the order in which they are sent."""

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.errors import ReportError
from node.findings import Measurement
from node.report import gate
from node.report.document import report
from node.report.provenance import REPORT, Provenance
from node.report.segmentations import segmentations
from node.report.sources import SeriesEvidence, Study
from node.settings import ReportSettings


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One object for the archive.

    Parameters
    ----------
    role : str
        "seg-lesions", "seg-muscles", "seg-vessels" or "sr". Sent in alphabetical order, so that what the report
        refers to is there before it.
    dataset : Dataset
        Complete, with file meta information, Explicit VR Little Endian.
    """

    role: str
    dataset: Dataset


def build(
    measurement: Measurement, evidence: Sequence[SeriesEvidence], *, settings: ReportSettings, started: dt.datetime
) -> tuple[ResultObject, ...]:
    """Return the objects that tell what was measured. The same arguments give the same bytes.

    There is always a report, also when nothing could be measured; a SEG for each kind of region that was found.

    Parameters
    ----------
    measurement : Measurement
        Findings and their regions.
    evidence : sequence of SeriesEvidence
        The measured series, all of one study. Patient and study are copied from the first header.
    settings : ReportSettings
        The product as it names itself, and which objects are wanted.
    started : datetime
        Recorded start of the analysis, with a time zone. The objects' times are written in the zone of the source's
        Timezone Offset From UTC, or in that of `started` if the source has none.

    Raises
    ------
    ReportError
        If the regions do not fit the evidence, a header is too damaged, or an object does not pass the output gate.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # highdicom and pydicom warn of odd values by quoting them: patient names
            study = Study.of(evidence)
            provenance = Provenance.of(
                study,
                measurement.findings.algorithm,
                settings=settings,
                started=started,
                suspicion=measurement.findings.suspicion,
            )
            objects = segmentations(measurement, study, provenance) if settings.segmentations else {}
            objects[REPORT] = report(measurement.findings, study, objects, provenance)
            gate.check(tuple(objects.values()), study.instances)
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # how the libraries refuse a value
        raise ReportError(f"a result object could not be built ({type(error).__name__})") from error
    return tuple(ResultObject(kind.role, objects[kind]) for kind in sorted(objects, key=lambda kind: kind.role))
