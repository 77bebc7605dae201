"""What the output gate holds back: each seeded defect, all at once, and nothing that is sound."""

from copy import deepcopy
from dataclasses import replace

import pytest

from node.errors import GateError
from node.report import gate, quantities
from node.report.gate.limits import LIMITS
from tests.conftest import shared
from tests.report.builders import KINETICS, MEASUREMENTS, built, evidence
from tests.report.defects import LISTED, OURS, Objects, no_language, other_name_in_a_segmentation, other_patient

SOURCES = tuple(header for series in evidence() for header in series.headers)


@pytest.fixture(scope="module")
def sound() -> Objects:
    return built()


def faults(made: Objects) -> str:
    with pytest.raises(GateError) as raised:
        gate.check(tuple(made.values()), SOURCES)
    return str(raised.value)


@pytest.mark.parametrize("shape", MEASUREMENTS)
def test_what_was_built_passes(shape: str):
    assert gate.faults(tuple(built(shape).values()), SOURCES) == []


@pytest.mark.parametrize("defect", LISTED | OURS)
def test_a_defect_is_held_back(sound: Objects, defect: str):
    broken = deepcopy(sound)
    seed, message = (LISTED | OURS)[defect]
    seed(broken)

    assert message in faults(broken)


def test_the_list_of_seeded_defects_is_the_one_by_which_the_public_validators_are_judged():
    source = shared("tools", "report", "mutate.py").read_text()
    listed = source.split("DEFECTS = {")[1].split("\n}")[0]

    assert set(LISTED) == set(listed.split('"')[1::2])


def test_a_region_across_the_midline_may_say_either_side(sound: Objects):
    broken = deepcopy(sound)
    for frame in broken["seg-lesions"].PerFrameFunctionalGroupsSequence:  # from 30 mm left of the midline
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [float(x) - 33, y, z]

    found = gate.faults(tuple(broken.values()), SOURCES)
    assert [one for one in found if "an outline does not lie where its segment does" not in one] == []


def test_every_quantity_that_may_be_reported_has_its_limits_and_their_unit():
    findings = MEASUREMENTS["levels and a suspicion by EMG"].findings
    reported = [
        *quantities.of_lesion(replace(findings.lesions[0], kinetics=KINETICS)),
        *quantities.of_muscle(replace(findings.muscles[0], kinetics=KINETICS)),
        *quantities.of_level(findings.levels[0]),
    ]

    assert len({one.name for one in reported}) > 20
    assert [one for one in reported if one.name not in LIMITS or LIMITS[one.name].unit != one.unit] == []


def test_every_fault_is_told_at_once_and_none_names_the_patient(sound: Objects):
    broken = deepcopy(sound)
    other_patient(broken)
    other_name_in_a_segmentation(broken)
    no_language(broken)

    text = faults(broken)

    assert ("PatientID" in text, "PatientName" in text, "Language" in text) == (True, True, True)
    assert not any(secret in text for secret in ("PVM0001", "OTHER", "Doe"))
