"""Dynamic series of simulated patients: what is measured is what their tissues were made to take up."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from node.analysis.courses import Course, kinetics_of, with_courses
from node.analysis.dynamic import Followed, follow, with_kinetics
from node.analysis.resampling import Movement, bring_mask
from node.analysis.stillness import hold_still
from node.dicom.dynamics import read_time_points, time_points
from node.dicom.geometry import Geometry
from node.dicom.stacks import split
from node.dicom.volumes import Volume, by_uid
from node.findings import (
    POSTERIOR,
    Findings,
    Kinetics,
    Location,
    Measurement,
    MuscleFindings,
    Regions,
    Side,
    StudyVolumes,
)
from node.folder import measure_folder
from node.settings import AnalysisSettings, Settings
from node.simulator import Recipe, SimulatedStudy, simulate, write
from tests.analysis.tissue_curves import TISSUES, rise_pct
from tests.simulator.studies import coarse
from tests.test_findings import FINDINGS

_BEFORE_S = 30.0  # five time points of six seconds


@cache
def _volumes(recipe: Recipe) -> tuple[Volume, ...]:
    instances = simulate(recipe).of("dynamic")
    points = time_points(split(instances), 1)
    return read_time_points(points, by_uid(instances).__getitem__, largest_bytes=1 << 28)


def _coarse(**changes: object) -> tuple[Volume, ...]:
    return _volumes(coarse(**{"series": ("dynamic",), "lesions": (), "time_points": 16, **changes}))


def _follow(volumes: tuple[Volume, ...], **settings: float) -> Followed:
    return follow(StudyVolumes(dynamic=volumes), AnalysisSettings.model_validate(settings))


# ---------------------------------------------------------------- from DICOM to findings


_TIMES_S = np.arange(40) * 6.0
_LATE = _TIMES_S >= _TIMES_S[-1] - 60
_RISES = {name: rise_pct(tissue, _TIMES_S, given_s=_BEFORE_S) for name, tissue in TISSUES.items()}


@cache
def _study() -> SimulatedStudy:
    return simulate(
        Recipe(series=("dynamic",), pixel_mm=1.5, slice_mm=4.0, slices=16, motion_mm=(0, 0, 0), motion_deg=(0, 0, 0))
    )


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    folder = tmp_path_factory.mktemp("dynamic")
    write(_study(), folder / "study")
    result = measure_folder(folder / "study" / "dicom", folder / "out", Settings())
    assert result.findings is not None, result.reason
    assert {"sr.dcm", "seg-muscles.dcm"} <= {one.name for one in result.objects}
    return result.findings


@pytest.mark.slow
def test_a_dynamic_series_alone_gives_all_that_a_pair_gives(findings: Findings) -> None:
    assert findings.inputs == ("pre", "post")
    assert findings.grade == 2
    for one in findings.muscles:
        assert one.enhancement_pct == pytest.approx(_RISES["muscle"][_LATE].mean(), rel=0.15)  # fat makes it less
    (lesion,) = findings.lesions
    assert lesion.side is Side.LEFT
    assert lesion.enhancement_pct == pytest.approx(_RISES["lesion"][_LATE].mean(), rel=0.1)
    _is_course_of(lesion.kinetics, "lesion")


@pytest.mark.slow
def test_each_side_and_level_has_the_curve_of_its_muscle(findings: Findings) -> None:
    levels = [one for one in findings.levels if one.muscle == POSTERIOR]

    assert levels
    for one in (*findings.muscles, *levels):
        _is_course_of(one.kinetics, "muscle")


@pytest.mark.slow
def test_a_lesion_outlined_as_it_was_made_has_the_curve_of_its_tissue() -> None:
    instances, masks = _study().of("dynamic"), _study().truth.masks
    points = read_time_points(
        time_points(split(instances), 1), by_uid(instances).__getitem__, largest_bytes=1 << 28
    )  # fmt: skip
    course = _follow(points).course
    assert course is not None

    region = bring_mask(masks.lesions == 1, masks.grid, course.geometry, Movement.none(np.zeros(3)))

    _is_course_of(kinetics_of(region, course), "lesion")


def _is_course_of(found: Kinetics | None, tissue: str) -> None:
    rise, made = _RISES[tissue], TISSUES[tissue].kinetics
    first_minute = (_TIMES_S >= _BEFORE_S) & (_TIMES_S <= _BEFORE_S + 60)
    assert found is not None
    assert found.onset_s == pytest.approx(_BEFORE_S, abs=6)  # a step
    assert found.onset_s + found.time_to_peak_s == pytest.approx(_TIMES_S[np.argmax(rise)], abs=6)
    assert found.peak_enhancement_pct == pytest.approx(rise.max(), rel=0.15)
    assert found.wash_in_pct_per_s == pytest.approx(np.diff(rise).max() / 6, rel=0.15)
    assert found.iauc60 == pytest.approx(np.trapezoid(rise[first_minute], _TIMES_S[first_minute]), rel=0.15)
    assert found.curve == {"muscle": "plateau", "lesion": "wash-out"}[tissue]
    # Fat in the muscle and the T1 of the lesion, which is not that of muscle, are not corrected.
    assert found.ktrans_per_min == pytest.approx(made.ktrans, rel=0.25)
    assert found.ve == pytest.approx(made.ve, rel=0.25)


@pytest.mark.slow
def test_transfer_constants_are_said_to_be_research(findings: Findings) -> None:
    assert "research" in " ".join(one.text for one in findings.caveats if one.code == "DYN-5")


# ---------------------------------------------------------------- regions


def _course(*signals: float) -> Course:
    geometry = Geometry(np.diag([4.0, 1.0, 1.0, 1.0]), (2, 4, 4), "1.2.3")
    arrays = tuple(np.full((2, 4, 4), one, np.float32) for one in signals)
    return Course(arrays, geometry, np.arange(len(signals)) * 10.0, 2, None)


def test_the_curve_of_a_region_is_its_median() -> None:
    course = _course(100, 100, 150, 180, 180)
    for array in course.arrays[2:]:
        array[0, 0, 0] = 5000  # a vessel
    region = np.zeros((2, 4, 4), bool)
    region[0, 0] = True

    found = kinetics_of(region, course)

    assert found is not None
    assert found.peak_enhancement_pct == pytest.approx(80)


def test_what_a_time_point_does_not_reach_is_no_dip_in_the_curve() -> None:
    course = _course(100, 100, 150, 180, 180)
    for array in course.arrays[:3]:
        array[1] = np.nan  # the patient lay lower, and this slice was not imaged
    everywhere, lower = np.ones((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    lower[1] = lower[0, 0, 0] = True

    found = kinetics_of(everywhere, course)

    assert found is not None
    assert found.peak_enhancement_pct == pytest.approx(80)
    assert kinetics_of(lower, course) is None  # most of it was seen at the end alone


def test_single_muscles_have_curves_of_their_own() -> None:
    course = _course(100, 100, 100, 100, 100)
    parts, sides = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    parts[:, :, 2:], parts[:, :, :2] = 1, 3  # multifidus and erector spinae, left
    sides[:] = 1
    for array, share in zip(course.arrays[2:], (1.3, 1.5, 1.5), strict=True):
        array[parts == 3] *= share
    place = Location(None, (0.0, 0.0, 0.0), (1, 4))
    rows = tuple(
        MuscleFindings(Side.LEFT, 1.0, *[None] * 7, place, muscle) for muscle in ("multifidus", "erector spinae")
    )
    measured = Measurement(replace(FINDINGS, muscles=(), lesions=(), levels=rows, answer=None), Regions(
        sides, None, None, "post", parts=parts
    ))  # fmt: skip

    slow, fast = with_courses(measured, course, course.geometry).levels

    assert slow.kinetics is None  # it does not enhance
    assert fast.kinetics.peak_enhancement_pct == pytest.approx(50)


def test_an_empty_region_has_no_kinetics() -> None:
    assert kinetics_of(np.zeros((2, 4, 4), bool), _course(100, 100, 150, 180, 180)) is None


# ---------------------------------------------------------------- gates


def _failed(followed: Followed) -> set[str]:
    return {one.code for one in followed.verdict.gates if not one.passed}


@pytest.mark.slow
def test_a_study_with_a_pair_keeps_it() -> None:
    points = _coarse()
    study = StudyVolumes(pre=points[0], post=points[-1], dynamic=points)

    followed = follow(study, AnalysisSettings())

    assert followed.volumes is study
    assert not followed.paired
    assert followed.course is not None


@pytest.mark.slow
def test_too_few_time_points_make_a_pair_and_no_curves() -> None:
    points = _coarse()

    followed = _follow((points[0], *points[-3:]))

    assert followed.volumes.pre is not None
    assert followed.volumes.post is not None
    assert followed.course is None
    assert "DYN-2" in _failed(followed)


@pytest.mark.slow
def test_time_points_without_times_make_a_pair_and_no_curves() -> None:
    points = tuple(
        replace(one, acquisition=replace(one.acquisition, acquired_at_s=None)) for one in _coarse(moves_at=0)
    )

    followed = _follow(points)

    assert followed.volumes.post is not None
    assert followed.course is None
    assert "DYN-2" in _failed(followed)


@pytest.mark.slow
def test_a_series_without_contrast_has_no_arrival_and_no_curves() -> None:
    followed = _follow(_coarse(contrast="labelled only"))

    assert followed.course is None
    assert "DYN-3" in _failed(followed)


@pytest.mark.slow
@pytest.mark.parametrize("before", [2, 5, 9])
def test_contrast_arrives_when_it_was_given(before: int) -> None:
    course = _follow(_coarse(points_before=before)).course

    assert course is not None
    assert course.before in (before, before + 1)


@pytest.mark.slow
def test_tofts_values_need_thirty_time_points() -> None:
    course = _follow(_coarse()).course

    assert course is not None
    assert course.tissue is None


@pytest.mark.slow
def test_what_is_said_of_the_series_stands_in_a_refused_measurement_too(findings: Findings) -> None:
    refused = Measurement(replace(findings, gates=(), caveats=()), Regions(None, None, None, "post"))

    said = with_kinetics(refused, _follow(_coarse(contrast="labelled only")))

    assert {one.code for one in said.findings.gates} == {"DYN-2", "DYN-3", "DYN-4"}


# ---------------------------------------------------------------- movement


@pytest.mark.slow
def test_a_patient_who_moves_is_brought_back_and_the_curve_of_an_edge_stays_whole() -> None:
    moving = _coarse(moves_at=8, motion_mm=(3.0, -2.0, 0.0), motion_deg=(0, 0, 1.0), snr=0, pixel_mm=2.0)
    lying = _coarse(moves_at=1, motion_mm=(3.0, -2.0, 0.0), motion_deg=(0, 0, 1.0), snr=0, pixel_mm=2.0)

    still = hold_still(moving, AnalysisSettings())

    assert still.kept == tuple(range(16))
    assert still.moved == 8
    edges = np.abs(np.gradient(lying[1].array, axis=2)) > 0.2 * lying[1].array.max()
    before = np.abs(moving[2].array - lying[2].array)[edges].mean()
    after = np.abs(still.arrays[2] - lying[2].array)[edges].mean()
    assert after < 0.35 * before


@pytest.mark.slow
def test_slices_that_were_not_imaged_before_the_patient_moved_are_not_measured_as_if_they_had_been_dark() -> None:
    moving = _coarse(moves_at=8, motion_mm=(3.0, 0.0, 9.0), motion_deg=(0, 0, 0), snr=0, pixel_mm=2.0)

    followed = _follow(moving)

    still = hold_still(moving, AnalysisSettings())
    unreached = followed.unreached
    assert still.moved == 8
    assert unreached is not None
    assert 0 < unreached.mean() < 0.5
    assert {bool(plane.all()) for plane in unreached} == {True, False}  # whole slices, at one end
    pre, post = followed.volumes.pre, followed.volumes.post
    assert np.isfinite(pre.array).all()
    assert np.isfinite(post.array).all()
    body = (post.array > 0.3 * np.percentile(post.array, 95)) & ~unreached
    assert float(np.median(pre.array[body] / post.array[body])) > 0.5  # not zeros


@pytest.mark.slow
def test_a_patient_who_lies_still_is_not_registered() -> None:
    points = _coarse()

    still = hold_still(points, AnalysisSettings())

    assert still.moved == 0
    assert all(one is point.array for one, point in zip(still.arrays, points, strict=True))
