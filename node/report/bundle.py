"""The bundle: all result objects of one analysis, in the order in which they are sent."""

import contextlib
import datetime as dt
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.errors import ReportError
from node.findings import EarlierResult, Measurement
from node.records import Predecessor, ResultRole
from node.report import gate
from node.report.document import observer, report
from node.report.keyimages import Page, draw_pages, key_images, key_objects
from node.report.maps import enhancement_map
from node.report.onimages import coordinates
from node.report.outlines import outlines
from node.report.pdf import pdf_report
from node.report.provenance import KEY_IMAGES, KEY_OBJECTS, MAP, OUTLINES, PDF, REPORT, Provenance
from node.report.segmentations import segmentations
from node.report.sources import SeriesEvidence, Study
from node.settings import ReportSettings


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One object for the archive.

    Parameters
    ----------
    role : ResultRole
        What it is; objects are sent in the order of their roles.
    name : str
        Which one it is of its role, e.g. "seg-lesions", "key-image-2".
    dataset : Dataset
        Complete, with file meta information, Explicit VR Little Endian.
    """

    role: ResultRole
    name: str
    dataset: Dataset


def build(
    measurement: Measurement,
    evidence: Sequence[SeriesEvidence],
    *,
    settings: ReportSettings,
    started: dt.datetime,
    predecessor: Predecessor | None = None,
) -> tuple[ResultObject, ...]:
    """Return the objects that tell what was measured, fit to be sent; arguments and errors as of `unchecked`.

    Raises
    ------
    GateError
        If they do not pass the output gate.
    """
    made = unchecked(measurement, evidence, settings=settings, started=started, predecessor=predecessor)
    with _refusals_in_words():
        gate.check(*_passing(made, evidence), measurement.findings.earlier)
    return made


def faults(
    made: Sequence[ResultObject], evidence: Sequence[SeriesEvidence], earlier: Sequence[EarlierResult] = ()
) -> list[str]:
    """Return what the output gate finds wrong with objects, one fault a line, without patient data.

    `earlier` are the results that they may refer to, and carry Tracking UIDs of.

    Raises
    ------
    ReportError
        If they are too broken to be looked at.
    """
    with _refusals_in_words():
        return gate.faults(*_passing(made, evidence), earlier)


def _passing(made: Sequence[ResultObject], evidence: Sequence[SeriesEvidence]) -> tuple[list[Dataset], list[Dataset]]:
    """Return what the gate looks at: the objects, and all headers that they come from."""
    return [one.dataset for one in made], [header for series in evidence for header in series.headers]


def unchecked(
    measurement: Measurement,
    evidence: Sequence[SeriesEvidence],
    *,
    settings: ReportSettings,
    started: dt.datetime,
    predecessor: Predecessor | None = None,
) -> tuple[ResultObject, ...]:
    """Return the objects that tell what was measured, in sending order. The same arguments give the same bytes.

    There is always a report, also when nothing could be measured; of the others those that the settings want, and
    that there is something to tell with. None of them may leave before `faults` was asked.

    Parameters
    ----------
    measurement : Measurement
        Findings, their regions and pictures.
    evidence : sequence of SeriesEvidence
        The measured series, all of one study. Patient and study are copied from the first header.
    settings : ReportSettings
        The product as it names itself, and which objects are wanted.
    started : datetime
        Recorded start of the analysis, with a time zone. The objects' times are written in the zone of the source's
        Timezone Offset From UTC, or in that of `started` if the source has none.
    predecessor : Predecessor, optional
        The earlier report of the same study that this one replaces.

    Raises
    ------
    ReportError
        If the regions do not fit the evidence, or a header is too damaged.
    """
    with _refusals_in_words():
        study = Study.of(evidence)
        provenance = Provenance.of(
            study, measurement.findings, settings=settings, started=started, predecessor=predecessor
        )
        return tuple(_objects(measurement, study, provenance, frozenset(settings.objects)))


@contextlib.contextmanager
def _refusals_in_words() -> Iterator[None]:
    """Turn how the libraries refuse a value into our error, which quotes nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # highdicom and pydicom warn of odd values by quoting them: patient names
            yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ReportError(f"a result object could not be built ({type(error).__name__})") from error


def _objects(
    measurement: Measurement, study: Study, provenance: Provenance, wanted: frozenset[ResultRole]
) -> list[ResultObject]:
    findings = measurement.findings
    segments = segmentations(measurement, study, provenance) if ResultRole.SEG in wanted else {}
    made = [ResultObject(kind.role, kind.name, one) for kind, one in segments.items()]
    derived = []
    if ResultRole.MAP in wanted and (one := enhancement_map(measurement, study, provenance)):
        derived.append(one)
        made.append(ResultObject(ResultRole.MAP, MAP.name, one))
    drawn = draw_pages(measurement, study) if wanted & {ResultRole.KEY_IMAGES, ResultRole.PDF} else ()
    captures = key_images(drawn, measurement, study, provenance) if ResultRole.KEY_IMAGES in wanted else []
    derived += captures
    made += [
        ResultObject(ResultRole.KEY_IMAGES, f"{KEY_IMAGES.name}-{number}", one)
        for number, one in enumerate(captures, 1)
    ]
    illustrations = {page.lesion: one for page, one in zip(drawn, captures, strict=False)}
    later = _companions(measurement, study, provenance, wanted, drawn, captures)
    told = report(
        findings, study, segments, provenance, derived=derived, illustrations=illustrations,
        outlines=coordinates(measurement, study), companions=[one.dataset for one in later],
    )  # fmt: skip
    made.append(ResultObject(ResultRole.SR, REPORT.name, told))
    return [*made, *later]


def _companions(
    measurement: Measurement,
    study: Study,
    provenance: Provenance,
    wanted: frozenset[ResultRole],
    drawn: Sequence[Page],
    captures: Sequence[Dataset],
) -> list[ResultObject]:
    """Return what is sent after the report, which names it in its evidence all the same."""
    made = []
    if ResultRole.OUTLINES in wanted and measurement.findings.lesions:
        series = study.series_of(measurement.regions.reference)
        if one := outlines(measurement, series, study, provenance):
            made.append(ResultObject(ResultRole.OUTLINES, OUTLINES.name, one))
    if ResultRole.KO in wanted and captures:
        selection = key_objects(drawn, captures, study, provenance, observer(provenance))
        made.append(ResultObject(ResultRole.KO, KEY_OBJECTS.name, selection))
    if ResultRole.PDF in wanted:
        pdf = pdf_report(measurement.findings, drawn, study, provenance)
        made.append(ResultObject(ResultRole.PDF, PDF.name, pdf))
    return made
