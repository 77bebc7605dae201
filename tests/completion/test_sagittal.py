"""Which sagittal series levels are read from: one in the same space, and none if there is none."""

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset

from node.completion import decide_roles, read_facts, read_table, select
from node.records import Role
from node.settings import CompletionSettings
from tests.builders import STUDY, series_of

POST = {"ContrastBolusAgent": "GADOBUTROL", "AcquisitionDate": "20260102", "AcquisitionTime": "101500"}
PRE = {"AcquisitionDate": "20260102", "AcquisitionTime": "100000"}
T2 = {"RepetitionTime": 3500, "EchoTime": 100}


def sagittal(number: int, **attributes: Any) -> list[Dataset]:
    made = list(series_of(number, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], **attributes))
    for place, one in enumerate(made):
        one.ImagePositionPatient = [4.0 * place, 0.0, 0.0]
    return made


def selected(*series: Sequence[Dataset]) -> dict[Role, str]:
    facts = [one for headers in series for one in read_facts(list(headers))]
    roles = decide_roles(facts, read_table(CompletionSettings().roles))
    stacks = select(facts, roles, post_alone=False).stacks
    return {role: key.series for role, key in (stacks or {}).items()}


def pair() -> list[list[Dataset]]:
    return [list(series_of(1, **PRE)), list(series_of(2, **POST))]


def test_a_sagittal_t2_in_the_same_space_goes_with_the_pair() -> None:
    assert selected(*pair(), sagittal(3, **T2)) == {
        Role.PRE: f"{STUDY}.1", Role.POST: f"{STUDY}.2", Role.SAGITTAL: f"{STUDY}.3",
    }  # fmt: skip


def test_t2_is_preferred_to_t1() -> None:
    assert selected(*pair(), sagittal(3), sagittal(4, **T2))[Role.SAGITTAL] == f"{STUDY}.4"
    assert selected(*pair(), sagittal(3))[Role.SAGITTAL] == f"{STUDY}.3"


def test_one_of_another_frame_of_reference_or_with_gaps_is_not_taken() -> None:
    gaps = sagittal(3, **T2)
    del gaps[2]

    assert Role.SAGITTAL not in selected(*pair(), sagittal(3, **T2, FrameOfReferenceUID="2.25.9"))
    assert Role.SAGITTAL not in selected(*pair(), gaps)
    assert Role.SAGITTAL not in selected(*pair())


def test_a_sagittal_series_alone_makes_no_study_measurable() -> None:
    assert selected(sagittal(3, **T2)) == {}
