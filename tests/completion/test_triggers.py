"""What says that a series and a study are whole; and what headers say is missing."""

from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node.completion import QuietPeriod, read_facts
from node.completion.counts import lacking_of
from node.completion.triggers import study_evidence
from node.dicom.identifiers import SeriesUID, StudyUID
from node.dicom.performed import StepState
from node.ledger.gathering import GatheringStudy
from node.records import MPPS, Expectation, SeriesProgress
from node.settings import CompletionSettings
from tests.builders import series_of

SETTINGS = CompletionSettings.model_validate(
    {
        "quiet_period_s": 60, "ended_quiet_period_s": 5, "incomplete_after_s": 600,
        "sender": [{"ae_title": "SLOW", "quiet_period_s": 180}, {"ae_title": "QUICK", "quiet_period_s": 2}],
    }
)  # fmt: skip
ONE = SeriesProgress(SeriesUID("2.25.1"), StudyUID("2.25.9"), 24, 1000.0)
IN_PROGRESS, COMPLETED = StepState.IN_PROGRESS, StepState.COMPLETED


def told(source: str, instances: int) -> Expectation:
    return Expectation(source, instances, 999.0)


def waits_s(series: SeriesProgress) -> float:
    """Return after how many seconds of quiet a series counts as whole."""
    trigger = QuietPeriod(SETTINGS)
    return next(s for s in (2, 5, 60, 180, 600) if trigger.evidence(series, now=series.last_seen_s + s))


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        ({}, 60),
        ({"senders": frozenset({"SLOW"})}, 180),
        ({"senders": frozenset({"QUICK"})}, 2),
        ({"senders": frozenset({"QUICK", "SLOW"})}, 180),
        ({"senders": frozenset({"QUICK", "OTHER"})}, 60),
        ({"expected": (told(MPPS, 24),)}, 5),
        ({"expected": (told(MPPS, 20),)}, 5),
        ({"expected": (told(MPPS, 24),), "senders": frozenset({"QUICK"})}, 2),
        ({"expected": (told(MPPS, 25),)}, 600),
        ({"expected": (told("C-FIND", 24),)}, 60),
        ({"expected": (told("C-FIND", 25),)}, 600),
        ({"expected": (told("C-FIND", 25), told(MPPS, 24))}, 600),
        ({"lacking": "gap: slices are missing"}, 600),
        ({"lacking": "gap: slices are missing", "expected": (told(MPPS, 24),)}, 600),
    ],
)
def test_a_series_is_quiet_for_as_long_as_what_is_known_of_it_asks(change: dict[str, Any], seconds: float) -> None:
    assert waits_s(replace(ONE, **change)) == seconds


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ({}, "24 instances, then quiet for 60 s"),
        (
            {"expected": (told(MPPS, 24), told("C-FIND", 24))},
            "24 instances, as many as C-FIND and MPPS counts, then quiet for 5 s",
        ),
        ({"expected": (told(MPPS, 30),)}, "24 instances, then quiet for 600 s; incomplete: 24 of 30 by MPPS"),
        (
            {"expected": (told(MPPS, 24),), "lacking": "2 of 3 time points"},
            "24 instances, as many as MPPS counts, then quiet for 600 s; incomplete: 2 of 3 time points",
        ),
    ],
)
def test_the_evidence_says_what_closed_a_series(change: dict[str, Any], evidence: str) -> None:
    assert QuietPeriod(SETTINGS).evidence(replace(ONE, **change), now=10_000.0) == evidence


@pytest.mark.parametrize(
    ("change", "seconds", "says"),
    [
        ({}, 60, "nothing new"),
        ({"steps": (IN_PROGRESS,)}, 600, "incomplete: MPPS in progress"),
        ({"steps": (COMPLETED, IN_PROGRESS)}, 600, "incomplete: MPPS in progress"),
        ({"steps": (COMPLETED,)}, 60, "nothing new"),  # it lists no series of what is here
        ({"steps": (COMPLETED,), "series": (replace(ONE, expected=(told(MPPS, 24),)),)}, 5, "MPPS ended"),
        ({"absent": (told(MPPS, 9),)}, 600, "a series of 9 by MPPS of which none is here"),
        ({"expected": (told("C-FIND", 25),)}, 600, "24 of 25 by C-FIND"),
        ({"expected": (told("C-FIND", 24),)}, 60, "nothing new"),
        ({"coming": 2}, 600, "incomplete: 2 series of earlier results, asked of an archive"),
    ],
)
def test_a_study_is_quiet_for_as_long_as_what_is_known_of_it_asks(
    change: dict[str, Any], seconds: float, says: str
) -> None:
    study = replace(GatheringStudy(StudyUID("2.25.9"), 24, (ONE,)), **change)

    assert study_evidence(study, SETTINGS, now=1000.0 + seconds - 0.1) == ""
    assert says in study_evidence(study, SETTINGS, now=1000.0 + seconds)


def lacking(number: int = 1, *, leave_out: tuple[int, ...] = (), slices: int = 6, **attributes: Any) -> str:
    headers = [one for k, one in enumerate(series_of(number, slices=slices, **attributes)) if k not in leave_out]
    return lacking_of(read_facts(headers), headers)


def test_a_stack_without_gaps_lacks_nothing() -> None:
    assert lacking() == ""
    assert lacking(slices=1) == ""


def test_a_slice_that_is_missing_between_others_is_a_gap() -> None:
    assert lacking(leave_out=(2,)).startswith("gap: slices are missing: 8.00 mm")


def test_a_missing_slice_at_the_end_is_not_seen() -> None:
    assert lacking(leave_out=(5,)) == ""


def test_images_in_acquisition_are_counted_for_each_acquisition() -> None:
    counted = {"ImagesInAcquisition": 6, "AcquisitionNumber": 1}

    assert lacking(**counted) == ""
    assert lacking(**counted, leave_out=(5,)) == "5 of 6 images of acquisition 1"
    assert lacking(ImagesInAcquisition=4) == ""  # fewer than there are: it counts something else


class CountedReads(Dataset):
    """A header that counts how often it is asked for a value."""

    asked = 0

    def get(self, *arguments: Any) -> Any:
        CountedReads.asked += 1
        return super().get(*arguments)


def test_counting_many_acquisitions_reads_each_header_a_fixed_number_of_times() -> None:
    headers = [CountedReads(one) for one in series_of(1, slices=60)]
    for k, header in enumerate(headers):
        header.AcquisitionNumber, header.ImagesInAcquisition = k, 2
    CountedReads.asked = 0

    assert lacking_of((), headers).count("1 of 2 images") == 60
    assert CountedReads.asked <= 6 * len(headers)


@pytest.mark.parametrize("value", [float("inf"), ["1", "2"], "many"])
def test_a_count_that_is_no_number_is_none(value: Any) -> None:
    headers = list(series_of(1))
    for header in headers:
        header.add_new("ImagesInAcquisition", "FD" if isinstance(value, float) else "LO", value)

    assert lacking_of((), headers) == ""


def dynamic(*, points: int, leave_out: frozenset[tuple[int, int]] = frozenset()) -> list[Any]:
    """Return the headers of a series of three time points by its headers, of four slices each."""
    headers = []
    for point in range(1, points + 1):
        for k, one in enumerate(series_of(1, slices=4, TemporalPositionIdentifier=point, NumberOfTemporalPositions=3)):
            one.SOPInstanceUID = f"{one.SOPInstanceUID}.{point}"
            if (point, k) not in leave_out:
                headers.append(one)
    return headers


def test_time_points_are_counted() -> None:
    whole, short = dynamic(points=3), dynamic(points=2)

    assert lacking_of(read_facts(whole), whole) == ""
    assert lacking_of(read_facts(short), short) == "2 of 3 time points"


def test_a_time_point_with_fewer_slices_than_others_is_told() -> None:
    headers = dynamic(points=3, leave_out=frozenset({(3, 3)}))

    assert lacking_of(read_facts(headers), headers) == "time point 3 of 3 has 3 of 4 slices"


@pytest.mark.parametrize("odd", [{"ImagesInAcquisition": None}, {"NumberOfTemporalPositions": 7}])
def test_counts_that_scanners_leave_out_or_write_without_the_rest_lack_nothing(odd: dict[str, Any]) -> None:
    assert lacking(**odd) == ""
