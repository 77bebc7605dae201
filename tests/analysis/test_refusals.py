"""Refusals: what must not be measured is refused, by the code that says why."""

from dataclasses import replace

import numpy as np
import pytest

from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.dicom.geometry import Geometry
from node.dicom.volumes import Volume
from node.findings import Outcome, StudyVolumes
from node.ports import Candidate
from node.settings import AnalysisSettings
from tests.analysis.phantom import MUSCLE_CENTRE_MM, Back, Scanner, Tube, acquisition, grid, head, pair, volume
from tests.analysis.running import RealBack, codes, read, run, shared_file

SMALL = grid(spacing_mm=(4.0, 1.8, 1.8), size_mm=(40.0, 135.0, 190.0))


@pytest.fixture(scope="module")
def study() -> tuple[Volume, Volume]:
    return pair(Back(), SMALL, snr=30)


def with_header(series: Volume, **changes: object) -> Volume:
    return replace(series, acquisition=acquisition(**changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RepetitionTime": 700}, "CMP-SEQ"),
        ({"EchoTime": 20}, "CMP-SEQ"),
        ({"FlipAngle": 90}, "CMP-SEQ"),
        ({"SequenceVariant": ["SK", "MTC"]}, "CMP-SEQ"),
        ({"ScanOptions": "FS"}, "CMP-FS"),
        ({"SeriesDescription": "t1_tse_fs_tra"}, "CMP-FS"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "WATER"]}, "CMP-FS"),
        ({"ReceiveCoilName": "BODY"}, "CMP-COIL"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}, "CMP-COIL"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]}, "IN-4"),
        ({"LossyImageCompression": "01"}, "IN-4"),
        ({"SliceThickness": 7}, "IN-3"),
        ({"Modality": "CT"}, "IN-1"),
    ],
)
def test_a_header_that_forbids_the_comparison_is_refused(study, changes, code):
    pre, post = study

    findings = run(pre, with_header(post, **changes)).findings

    assert findings.outcome is Outcome.REFUSED
    assert codes(findings) == {code}
    assert findings.grade is None


def in_frame(series: Volume, frame_of_reference: str) -> Volume:
    geometry = series.geometry
    return replace(series, geometry=Geometry(geometry.affine, geometry.shape, frame_of_reference))


@pytest.mark.parametrize("frames", [("1.2.3", "1.2.4"), ("", "1.2.4"), ("", "")])
def test_series_without_a_common_frame_of_reference_are_measured_with_a_caveat_if_registration_joins_them(
    study, frames
):
    pre, post = (in_frame(series, frame) for series, frame in zip(study, frames, strict=True))

    findings = run(pre, post).findings

    assert codes(findings) == set()
    assert "CMP-FOR" in {note.code for note in findings.caveats}
    assert findings.inputs == ("pre", "post")


def test_series_without_a_common_frame_of_reference_that_registration_does_not_join_are_refused(study):
    """A head of the same shape and sequence: by headers a pair."""
    _, post = study
    elsewhere = Scanner(snr=30).acquire(lambda points: head(points, contrast=False), SMALL)

    assert "CMP-FOR" in codes(run(in_frame(elsewhere, "1.2.3"), post).findings)


def test_a_philips_pair_without_its_private_scale_bears_a_caveat(study):
    pre, post = (with_header(series, Manufacturer="Philips") for series in study)

    findings = run(pre, post).findings
    one_sided = run(replace(pre, scale="philips"), post).findings

    assert codes(findings) == set()
    assert "CMP-SCALE" in {note.code for note in findings.caveats}
    assert codes(one_sided) == {"CMP-SCALE"}


def away(series: Volume, millimetres: float) -> Volume:
    affine = series.geometry.affine.copy()
    affine[0, 3] += millimetres
    return replace(series, geometry=Geometry(affine, series.geometry.shape, series.geometry.frame_of_reference))


def test_series_of_different_places_are_refused(study):
    pre, post = study

    assert codes(run(pre, away(post, 900)).findings) == {"REG-2"}


@pytest.mark.slow
def test_an_mrv_of_another_place_is_left_aside(study):
    pre, post = study

    findings = run(pre, post, away(post, 900)).findings

    assert findings.grade == 0
    assert "MRV-3" in {note.code for note in findings.caveats}
    assert findings.inputs == ("pre", "post")


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_an_empty_series_is_refused(study, value):
    empty = volume(np.full(SMALL.shape, value), SMALL)

    assert run(empty, empty).findings.outcome is Outcome.REFUSED


def test_a_post_series_acquired_first_is_refused(study):
    pre, post = study
    times = ({"AcquisitionDate": "20260105", "AcquisitionTime": clock} for clock in ("101000", "100000"))

    before, after = (with_header(series, **time) for series, time in zip((pre, post), times, strict=True))

    assert codes(run(before, after).findings) == {"CMP-TIME"}


def test_other_voxels_are_refused(study):
    pre, _ = study
    back = Back()
    coarse = Scanner(snr=30).acquire(
        lambda points: back.draw(points, contrast=True), grid(spacing_mm=(5.5, 1.2, 1.2), size_mm=(48.0, 150.0, 200.0))
    )

    assert codes(run(pre, coarse).findings) == {"CMP-GEO"}


def test_too_few_slices_are_refused():
    pre, post = pair(Back(), grid(spacing_mm=(4.0, 1.8, 1.8), size_mm=(16.0, 150.0, 200.0)), snr=30)

    assert codes(run(pre, post).findings) == {"IN-3"}


def test_a_saturated_series_is_refused(study):
    pre, post = study

    clipped = volume(np.minimum(post.array, 200), post.geometry, post.acquisition)

    assert codes(run(pre, clipped).findings) == {"IN-6"}


def test_signed_values_are_refused(study):
    pre, post = study

    assert codes(run(pre, volume(post.array - 100, post.geometry)).findings) == {"IN-4"}


def test_an_oblique_series_is_refused(study):
    pre, post = study
    turn, affine = np.deg2rad(40), post.geometry.affine.copy()
    around_x = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine[:3, :3] = around_x @ affine[:3, :3]
    tilted = Geometry(affine, post.geometry.shape, post.geometry.frame_of_reference)

    findings = run(replace(pre, geometry=tilted), replace(post, geometry=tilted)).findings

    assert codes(findings) == {"IN-5"}


def test_a_pre_contrast_series_alone_is_refused(study):
    assert codes(run(study[0]).findings) == {"ROLE-CONTRAST"}


def test_a_study_of_which_no_series_makes_a_volume_is_refused():
    assert codes(run().findings) == {"ROLE-CONTRAST"}


@pytest.mark.slow
def test_a_series_without_contrast_is_refused_and_its_muscles_keep_their_volume_and_their_vessels():
    x, y = MUSCLE_CENTRE_MM
    back = Back(left=0.0, right=0.0, vessels=(Tube((x, y, -30.0), (x, y, 30.0), 1.8),))
    before, after = (
        Scanner(snr=30, seed=seed).acquire(lambda points: back.draw(points, contrast=False), SMALL) for seed in (1, 2)
    )
    mrv = Scanner(snr=30, seed=3).acquire(
        back.venography, grid(spacing_mm=(2.0, 1.2, 1.2), size_mm=(56.0, 135.0, 190.0))
    )

    measured = run(before, after, mrv)

    findings, (left, right) = measured.findings, measured.findings.muscles
    assert findings.outcome is Outcome.REFUSED
    assert codes(findings) == {"ROLE-CONTRAST"}
    assert all(one.volume_mm3 > 10_000 and one.enhancement_pct is None for one in findings.muscles)
    assert findings.inputs == ("mrv",)
    painted_pct = 100 * np.pi * 1.8**2 * 40 / left.volume_mm3
    assert left.vessel_fraction_pct == pytest.approx(painted_pct, rel=0.4)  # a vein of three pixels
    assert right.vessel_fraction_pct == pytest.approx(0, abs=0.2)
    assert measured.regions.vessels is not None


def test_an_mrv_beside_a_pair_that_is_refused_before_there_are_muscles_is_said_to_be_unused(study):
    pre, post = study

    findings = run(pre, with_header(post, RepetitionTime=700), post).findings

    assert codes(findings) == {"CMP-SEQ"}
    assert [note.code for note in findings.caveats] == ["MRV-1"]


@pytest.mark.slow
def test_a_receiver_gain_beyond_belief_is_refused():
    assert codes(run(*pair(Back(), SMALL, snr=30, gain=3.0)).findings) == {"CMP-GAIN"}


@pytest.mark.slow
def test_a_head_is_refused():
    before, after = (
        Scanner(snr=30, seed=contrast).acquire(lambda points, given=contrast: head(points, contrast=given), SMALL)
        for contrast in (False, True)
    )

    assert run(before, after).findings.outcome is Outcome.REFUSED


@pytest.mark.slow
def test_noise_alone_is_refused():
    random = np.random.default_rng(0)
    noise = [volume(np.abs(random.normal(100, 30, SMALL.shape)), SMALL) for _ in range(2)]

    assert run(*noise).findings.outcome is Outcome.REFUSED


@pytest.mark.slow
def test_a_post_contrast_series_alone_gives_signal_but_no_enhancement_and_no_grade(study):
    findings = run(post=study[1]).findings

    assert codes(findings) == {"POST-ONLY"}
    assert findings.grade is None
    assert all(one.enhancement_pct is None and one.post_signal is not None for one in findings.muscles)


@pytest.mark.slow
def test_thick_slices_give_regional_values_only():
    thick = grid(spacing_mm=(5.6, 1.5, 1.5), size_mm=(67.0, 150.0, 200.0))

    findings = run(*pair(Back(), thick, snr=30)).findings

    assert codes(findings) == {"IN-3"}
    assert findings.grade is None
    assert findings.outcome is Outcome.FINDINGS
    assert all(one.enhancement_pct is not None for one in findings.muscles)


class Careless(CompartmentSegmenter):
    def segment(self, volume, *, spacing_mm):
        found = super().segment(volume, spacing_mm=spacing_mm)
        return replace(found, muscles=found.muscles[:-1])


class Odd(MultiscaleDetector):
    def detect(self, pre, post, muscle, *, spacing_mm, residual_mm):
        return [Candidate(np.ones((2, 2, 2), bool), 99.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("segmenter", "detector", "code"),
    [(Careless(), MultiscaleDetector(), "SEG-0"), (CompartmentSegmenter(), Odd(), "DET-0")],
)
def test_a_plug_in_whose_output_does_not_fit_is_refused(study, segmenter, detector, code):
    pre, post = study

    measured = measure(StudyVolumes(pre, post), settings=AnalysisSettings(), segmenter=segmenter, detector=detector)

    assert code in codes(measured.findings)
    assert measured.findings.grade is None
    assert measured.findings.lesions == ()


# ---------------------------------------------------------------- real pairs that only look like pre and post


@pytest.mark.slow
def test_a_magnetisation_transfer_pair_is_refused():
    series = [volume(*read(shared_file("SCT_cervical_axial", f"ex_mt{number}.nii.gz"))) for number in (0, 1)]

    for pre, post in (series, series[::-1]):
        findings = run(pre, post).findings  # the headers are made equal: the images alone must do
        assert findings.outcome is Outcome.REFUSED
        assert codes(findings) <= {"SEG-0", "REG-2", "CMP-GAIN", "ROLE-CONTRAST", "IN-6"}


@pytest.fixture(scope="module")
def real() -> RealBack:
    back = RealBack()
    back.crop(slices=8)
    return back


@pytest.mark.slow
def test_an_in_phase_and_an_opposed_phase_series_are_refused(real):
    in_phase = real.series(real.water, real.fat, snr=30, seed=1)
    opposed = real.series(np.abs(real.water - real.fat), 0 * real.fat, snr=30, seed=2)

    findings = run(in_phase, opposed).findings

    assert findings.outcome is Outcome.REFUSED
    assert codes(findings) <= {"ROLE-CONTRAST", "CMP-GAIN"}


@pytest.mark.slow
def test_a_water_and_a_fat_series_are_refused(real):
    water = real.series(real.water, 0 * real.fat, snr=30, seed=1)
    fat = real.series(0 * real.water, real.fat, snr=30, seed=2)

    assert codes(run(water, fat).findings) <= {"SEG-0", "REG-2"}
    assert run(fat, water).findings.outcome is Outcome.REFUSED
