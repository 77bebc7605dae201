import logging
from typing import Any

import pytest
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from node.completion import contents
from node.dicom.performed import PerformedStep, StepState
from node.eventlog import alias
from node.ledger import Arrivals
from node.ledger.ledger import Ledger
from node.records import SeriesRole, StudyState
from node.spool import Spool
from tests.builders import SECRET, STUDY, series_of
from tests.completion.desk import POST, PRE, QUIET_S, Desk

GAP = {"ImagePositionPatient": [0.0, 0.0, 40.0]}  # the other slices of a series are 4 mm apart, up to 20 mm


@pytest.fixture
def desk(spool: Spool, ledger: Ledger) -> Desk:
    return Desk(spool, ledger)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("paraspinal-node").propagate = True
    caplog.set_level(logging.INFO)
    return caplog


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one for each header that the watcher reads."""
    read, count = contents.read_header, list[int]()

    def counted(view: Any) -> Any:
        count.append(1)
        return read(view)

    monkeypatch.setattr(contents, "read_header", counted)
    return count


def test_a_study_with_a_contrast_pair_becomes_a_job_after_its_quiet_period(desk: Desk) -> None:
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S - 1)
    assert desk.jobs == []
    desk.look(now=QUIET_S)

    assert [job.study for job in desk.jobs] == [STUDY]
    assert desk.whole_by == "nothing new; quiet for 60 s"


def test_a_closed_study_is_not_looked_at_again(desk: Desk) -> None:
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S)
    desk.look(now=2 * QUIET_S)

    assert len(desk.jobs) == 1


def test_a_series_that_still_comes_holds_the_study_open(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.receive(next(series_of(3, AngioFlag="Y")), now=QUIET_S)

    desk.look(now=QUIET_S + 1)

    assert desk.jobs == []


def test_a_late_instance_makes_a_second_job(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=QUIET_S + 5)

    desk.look(now=3 * QUIET_S)

    assert [job.generation for job in desk.jobs] == [1, 2]


def test_a_study_that_cannot_be_measured_is_not_eligible_and_says_why(
    desk: Desk, logged: pytest.LogCaptureFixture
) -> None:
    for dataset in series_of(1, SeriesDescription=SECRET):
        desk.receive(dataset, now=0.0)

    desk.look(now=QUIET_S)

    assert desk.state is StudyState.NOT_ELIGIBLE
    assert "post-contrast T1 missing" in desk.reason
    assert desk.reason in logged.text
    assert "SECRET" not in logged.text
    assert STUDY not in logged.text


def test_a_series_that_cannot_be_read_costs_the_series_and_not_the_study(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    broken = next(series_of(4))
    desk.receive(broken, content=b"this is no DICOM file", now=0.0)

    desk.look(now=QUIET_S)

    assert len(desk.jobs) == 1


def test_a_series_whose_counts_cannot_be_read_is_wholly_left_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise OverflowError

    monkeypatch.setattr(contents, "lacking_of", broken)
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S)

    assert desk.jobs == []
    assert desk.state is StudyState.NOT_ELIGIBLE


@pytest.mark.parametrize(
    "other",
    [
        {"SOPClassUID": SegmentationStorage, "Modality": "SEG", "NumberOfFrames": 3, "ImagePositionPatient": None},
        {"SOPClassUID": ComprehensiveSRStorage, "Modality": "SR", "Rows": None, "Columns": None, "PixelData": None},
    ],
)
def test_a_series_of_objects_that_are_no_images_is_other_and_no_error(
    desk: Desk, logged: pytest.LogCaptureFixture, other: dict[str, Any]
) -> None:
    desk.receive_pair(now=0.0)
    for dataset in series_of(3, slices=1, **other):
        desk.receive(dataset, now=0.0)

    desk.look(now=QUIET_S)

    assert len(desk.jobs) == 1
    assert not [one for one in logged.records if one.levelno >= logging.ERROR]
    decisions = [one.decision for one in desk.ledger.stack_rows(STUDY) if one.series_alias == alias(f"{STUDY}.3")]
    assert [(one.role, one.evidence) for one in decisions if one] == [
        (SeriesRole.OTHER, "the series holds no acquired image")
    ]


@pytest.mark.parametrize(
    "odd", [{"PixelSpacing": [0.0, 0.0]}, {"RepetitionTime": "many"}, {"AcquisitionDate": "today"}]
)
def test_an_odd_study_does_not_hold_up_the_others(desk: Desk, odd: dict[str, Any]) -> None:
    for dataset in [*series_of(1, study="2.25.1", **PRE), *series_of(2, study="2.25.1", **POST)]:
        for keyword, value in odd.items():
            dataset.add_new(keyword, "LO" if isinstance(value, str) else "DS", value)
        desk.receive(dataset, now=0.0)
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S)

    assert STUDY in [job.study for job in desk.jobs]


def test_a_study_that_breaks_the_rules_themselves_waits_and_the_others_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    select = contents.select

    def break_on_the_first(facts: Any, *arguments: Any, **more: Any) -> Any:
        if facts[0].series.startswith("2.25.1."):
            raise ZeroDivisionError
        return select(facts, *arguments, **more)

    monkeypatch.setattr(contents, "select", break_on_the_first)
    for dataset in series_of(1, study="2.25.1"):
        desk.receive(dataset, now=0.0)
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S)

    assert [job.study for job in desk.jobs] == [STUDY]
    assert [study.study for study in desk.ledger.gathering()] == ["2.25.1"]


# ------------------------------------------------------------------ the clock


def test_what_gathered_before_a_restart_is_closed_after_it(desk: Desk, spool: Spool, ledger: Ledger) -> None:
    desk.receive_pair(now=0.0)

    Arrivals(ledger.database).excuse_outage(now=1000.0)
    restarted = Desk(spool, ledger)
    restarted.look(now=1000.0)
    assert restarted.jobs == []
    restarted.look(now=1000.0 + QUIET_S)

    assert len(restarted.jobs) == 1


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 10 * 365 * 86400.0, -10 * 365 * 86400.0, 30.0])
def test_a_clock_that_is_set_closes_no_study_early_and_keeps_none_from_closing(
    desk: Desk, logged: pytest.LogCaptureFixture, jump_s: float
) -> None:
    start_s = 2e9
    desk.receive_pair(now=start_s)
    desk.look(now=start_s + 5, monotonic_s=5.0)

    desk.look(now=start_s + 10 + jump_s, monotonic_s=10.0)
    desk.look(now=start_s + 69 + jump_s, monotonic_s=69.0)
    assert desk.jobs == []
    desk.look(now=start_s + 70 + jump_s, monotonic_s=70.0)

    assert len(desk.jobs) == 1
    assert logged.text.count("C314") == 1


def test_a_study_stamped_by_a_clock_that_was_ahead_is_closed_a_quiet_period_later(desk: Desk) -> None:
    desk.receive_pair(now=10_000.0)

    desk.look(now=5_000.0)  # the clock was set back while nobody looked
    desk.look(now=5_000.0 + QUIET_S)

    assert len(desk.jobs) == 1


def test_while_the_receiver_is_away_nothing_comes_to_rest_but_what_an_operator_closes(desk: Desk) -> None:
    desk.is_receiving = False
    desk.receive_pair(now=0.0)

    desk.look(now=1000.0)
    assert desk.jobs == []
    desk.is_receiving = True
    desk.look(now=1010.0)
    desk.look(now=1010.0 + QUIET_S - 1)
    assert desk.jobs == []
    desk.look(now=1010.0 + QUIET_S)

    assert len(desk.jobs) == 1


# ------------------------------------------------------------------ jobs whose study has changed since


def test_a_job_is_to_be_done_while_its_study_is_as_it_was(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)

    assert desk.ledger.superseded(desk.jobs[0].id) == ""


def test_a_job_is_superseded_when_an_instance_comes_late_and_stays_so_when_its_study_is_closed_again(
    desk: Desk,
) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=100.0)

    meanwhile = desk.ledger.superseded(desk.jobs[0].id)
    desk.look(now=100.0 + QUIET_S)

    first, second = desk.jobs
    assert meanwhile == "superseded: the study gathers again"
    assert desk.ledger.superseded(first.id) == f"superseded by {second.id}"
    assert desk.ledger.superseded(second.id) == ""


def test_a_job_is_superseded_when_what_comes_late_holds_its_study(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)

    desk.receive(next(series_of(3, PatientID="SOMEBODY-ELSE")), now=100.0)

    assert desk.ledger.superseded(desk.jobs[0].id) == "superseded: the study is held"


def test_a_job_is_superseded_when_its_study_is_found_not_eligible(spool: Spool, ledger: Ledger) -> None:
    desk = Desk(spool, ledger, required=["localizer"], missing_role="refuse", wait_for_roles_s=100.0)
    desk.receive_pair(now=0.0)
    (row,) = ledger.study_rows()
    ledger.force(row.alias, "root", now=1.0)
    desk.look(now=1.0)
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=2.0)

    desk.look(now=102.0)

    assert desk.state is StudyState.NOT_ELIGIBLE
    assert ledger.superseded(desk.jobs[0].id) == "superseded: the study has grown, and is not eligible"


# ------------------------------------------------------------------ what is known to be missing


def test_a_stack_with_a_gap_waits_longer_and_is_then_closed_with_the_gap_in_its_evidence(
    desk: Desk, logged: pytest.LogCaptureFixture
) -> None:
    desk.receive_pair(now=0.0)
    desk.receive(next(series_of(2, slices=1, SOPInstanceUID="2.25.77", **(POST | GAP))), now=0.0)

    desk.look(now=QUIET_S)
    assert (desk.jobs, desk.state) == ([], StudyState.GATHERING)
    assert "gap" in desk.reason
    desk.look(now=desk.settings.incomplete_after_s)

    assert len(desk.jobs) == 1
    assert "incomplete: gap" in {row.series_alias: row.whole_by for row in desk.ledger.stack_rows(STUDY)}.popitem()[1]
    assert "C312" in logged.text


def test_a_gap_that_is_filled_does_not_wait(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    late = series_of(2, slices=11, **POST)
    desk.receive([*late][10], now=0.0)  # at 40 mm
    desk.look(now=QUIET_S)
    for dataset in [*series_of(2, slices=11, **POST)][6:10]:
        desk.receive(dataset, now=QUIET_S + 1)

    desk.look(now=2 * QUIET_S + 1)

    assert len(desk.jobs) == 1


def test_headers_are_read_once_however_often_a_waiting_study_is_looked_at(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = reads(monkeypatch)
    desk.receive_pair(now=0.0)
    desk.receive(next(series_of(2, slices=1, SOPInstanceUID="2.25.77", **(POST | GAP))), now=0.0)

    for turn in range(100):
        desk.look(now=5.0 * turn)

    assert len(count) == 13


def test_no_header_is_read_before_the_quiet_period(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    count = reads(monkeypatch)
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S - 1)

    assert count == []


def test_an_mppss_in_progress_keeps_a_study_open_until_the_longer_period_is_over(desk: Desk) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=1.0)

    desk.look(now=599.0)
    assert (desk.jobs, desk.reason) == ([], "waits; MPPS in progress")
    desk.look(now=601.0)

    assert len(desk.jobs) == 1
    assert desk.whole_by == "incomplete: MPPS in progress; quiet for 600 s"


@pytest.mark.parametrize("state", [StepState.COMPLETED, StepState.DISCONTINUED])
def test_a_study_is_closed_at_once_when_its_mpps_has_ended_and_all_it_lists_is_here(
    desk: Desk, state: StepState
) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=100.0)
    end(desk, {f"{STUDY}.1": 6, f"{STUDY}.2": 6}, state, now=101.0)

    desk.look(now=104.0)
    assert desk.jobs == []
    desk.look(now=105.0)

    assert len(desk.jobs) == 1
    assert desk.whole_by == "MPPS ended, and all it lists is here; quiet for 5 s"
    assert {row.whole_by for row in desk.ledger.stack_rows(STUDY)} == {
        "6 instances, as many as MPPS counts, then quiet for 5 s"
    }


def test_an_mpps_may_come_before_and_after_the_images(desk: Desk) -> None:
    begin(desk, now=0.0)
    end(desk, {f"{STUDY}.1": 6, f"{STUDY}.2": 6}, now=1.0)
    desk.receive_pair(now=500.0)

    desk.look(now=505.0)

    assert len(desk.jobs) == 1


@pytest.mark.parametrize(
    ("made", "waits"),
    [
        ({f"{STUDY}.1": 6, f"{STUDY}.2": 8}, "waits; 6 of the 8 that MPPS names"),
        ({f"{STUDY}.1": 6, f"{STUDY}.2": 6, f"{STUDY}.3": 9}, "waits; a series of 9 by MPPS of which none is here"),
    ],
)
def test_what_an_mpps_lists_and_is_not_here_is_waited_for(desk: Desk, made: dict[str, int], waits: str) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=0.0)
    end(desk, made, now=1.0)

    desk.look(now=599.0)
    assert (desk.jobs, desk.reason) == ([], waits)
    desk.look(now=600.0)

    assert len(desk.jobs) == 1


def test_an_instance_that_an_mpps_names_is_waited_for_although_as_many_others_are_here(desk: Desk) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=0.0)
    named = {f"{STUDY}.2": {f"{STUDY}.2.{number}" for number in (1, 2, 3, 4, 5, 99)}}  # six, and six are here
    desk.expectations.change_step("2.25.5001", step(StepState.COMPLETED, named), now=1.0)

    desk.look(now=599.0)
    assert (desk.jobs, desk.reason) == ([], "waits; 5 of the 6 that MPPS names")
    desk.look(now=600.0)

    assert len(desk.jobs) == 1


def test_what_an_mpps_names_anew_counts_in_place_of_what_it_named_before(desk: Desk) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=0.0)
    end(desk, {f"{STUDY}.1": 6, f"{STUDY}.2": 8}, StepState.IN_PROGRESS, now=1.0)
    end(desk, {f"{STUDY}.1": 6, f"{STUDY}.2": 6}, now=2.0)

    desk.look(now=7.0)

    assert len(desk.jobs) == 1


def test_a_study_of_which_an_archive_has_more_is_waited_for(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.expectations.expect(STUDY, "", "C-FIND", 20, now=10.0)

    desk.look(now=QUIET_S)
    assert (desk.jobs, desk.reason) == ([], "waits; 12 of 20 by C-FIND")
    desk.expectations.expect(STUDY, "", "C-FIND", 12, now=70.0)  # it was wrong
    desk.look(now=QUIET_S + 15)

    assert len(desk.jobs) == 1


def test_an_archive_that_has_less_or_as_much_proves_nothing(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.expectations.expect(STUDY, f"{STUDY}.1", "C-FIND", 6, now=1.0)
    desk.expectations.expect(STUDY, f"{STUDY}.2", "C-FIND", 3, now=1.0)

    desk.look(now=QUIET_S - 1)
    assert desk.jobs == []
    desk.look(now=QUIET_S)

    evidence = {row.whole_by for row in desk.ledger.stack_rows(STUDY)}
    assert evidence == {
        "6 instances, as many as C-FIND counts, then quiet for 60 s", "6 instances, then quiet for 60 s"
    }  # fmt: skip


def test_a_sender_may_have_a_quiet_period_of_its_own(spool: Spool, ledger: Ledger) -> None:
    desk = Desk(spool, ledger, sender=[{"ae_title": "MR1", "quiet_period_s": 180.0}])
    desk.receive_pair(now=0.0)

    desk.look(now=179.0)
    assert desk.jobs == []
    desk.look(now=180.0)

    assert len(desk.jobs) == 1


# ------------------------------------------------------------------ required roles


def test_a_required_role_that_is_missing_changes_nothing_where_the_policy_is_to_proceed(
    spool: Spool, ledger: Ledger
) -> None:
    desk = Desk(spool, ledger, required=["post", "mrv"])
    desk.receive_pair(now=0.0)

    desk.look(now=QUIET_S)

    assert (len(desk.jobs), desk.reason) == (1, "contrast pair; mrv missing")


@pytest.mark.parametrize(("policy", "jobs"), [("wait", 1), ("refuse", 0)])
def test_a_required_role_is_waited_for_and_then_the_study_proceeds_or_is_refused(
    spool: Spool, ledger: Ledger, policy: str, jobs: int
) -> None:
    desk = Desk(spool, ledger, required=["mrv"], missing_role=policy, wait_for_roles_s=300.0)
    desk.receive_pair(now=0.0)

    desk.look(now=299.0)
    assert (desk.jobs, desk.reason) == ([], "waits; required and missing: mrv")
    desk.look(now=300.0)

    assert len(desk.jobs) == jobs
    assert "mrv" in desk.reason
    assert desk.state is (StudyState.MEASURABLE if jobs else StudyState.NOT_ELIGIBLE)


@pytest.mark.parametrize("policy", ["wait", "refuse"])
def test_a_required_role_that_comes_late_is_measured_with_the_others(spool: Spool, ledger: Ledger, policy: str) -> None:
    desk = Desk(spool, ledger, required=["mrv"], missing_role=policy, wait_for_roles_s=300.0)
    desk.receive_pair(now=0.0)
    desk.look(now=100.0)
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=200.0)

    desk.look(now=200.0 + QUIET_S)

    (job,) = desk.jobs
    assert {role.value for role in desk.ledger.inputs(job.id)} == {"pre", "post", "mrv"}


def test_a_refused_study_is_measured_when_the_missing_role_comes_after_all(spool: Spool, ledger: Ledger) -> None:
    desk = Desk(spool, ledger, required=["mrv"], missing_role="refuse", wait_for_roles_s=100.0)
    desk.receive_pair(now=0.0)
    desk.look(now=100.0)
    assert desk.state is StudyState.NOT_ELIGIBLE
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=200.0)

    desk.look(now=200.0 + QUIET_S)

    assert len(desk.jobs) == 1


# ------------------------------------------------------------------ operators


def test_an_operator_closes_a_study_now_and_the_evidence_says_who(desk: Desk) -> None:
    begin(desk, now=0.0)
    desk.receive_pair(now=0.0)
    (row,) = desk.ledger.study_rows()

    assert desk.ledger.force(row.alias, "root", now=1.0)
    desk.look(now=1.0)

    assert len(desk.jobs) == 1
    assert desk.whole_by == "force-complete by root"
    assert {one.whole_by for one in desk.ledger.stack_rows(STUDY)} == {"6 instances, force-complete by root"}


def test_a_late_instance_after_a_forced_closing_is_gathered_as_ever(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    (row,) = desk.ledger.study_rows()
    desk.ledger.force(row.alias, "root", now=1.0)
    desk.look(now=1.0)
    for dataset in series_of(3, AngioFlag="Y"):
        desk.receive(dataset, now=2.0)

    desk.look(now=3.0)
    assert len(desk.jobs) == 1
    desk.look(now=2.0 + QUIET_S)

    assert len(desk.jobs) == 2


def test_a_study_that_does_not_gather_cannot_be_forced(desk: Desk) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)
    (row,) = desk.ledger.study_rows()

    assert not desk.ledger.force(row.alias, "root", now=1.0)
    assert not desk.ledger.force("nobody", "root", now=1.0)


def test_a_study_that_never_comes_to_rest_is_warned_of_once_a_day(desk: Desk, logged: pytest.LogCaptureFixture) -> None:
    for minute in range(0, 6 * 60, 10):
        desk.receive_pair(now=60.0 * minute)
        desk.look(now=60.0 * minute)

    assert desk.state is StudyState.GATHERING
    assert logged.text.count("C313") == 1
    assert "state='gathering' hours=4.2" in logged.text
    desk.receive_pair(now=86400.0 * 2)
    desk.look(now=86400.0 * 2)
    assert logged.text.count("C313") == 2


def test_a_job_that_nobody_ends_is_warned_of(desk: Desk, logged: pytest.LogCaptureFixture) -> None:
    desk.receive_pair(now=0.0)
    desk.look(now=QUIET_S)

    desk.look(now=QUIET_S + desk.settings.overdue_after_s + 1)

    assert f"which={desk.jobs[0].id} state='not settled'" in logged.text


def begin(desk: Desk, *, now: float) -> None:
    desk.expectations.begin_step("2.25.5001", step(StepState.IN_PROGRESS, {}), calling_ae="MR1", now=now)


def end(desk: Desk, made: dict[str, int], state: StepState = StepState.COMPLETED, *, now: float) -> None:
    """Let the modality name the first so many instances of each series, as `series_of` calls them."""
    named = {series: {f"{series}.{number + 1}" for number in range(count)} for series, count in made.items()}
    desk.expectations.change_step("2.25.5001", step(state, named), now=now)


def step(state: StepState, made: dict[str, set[str]]) -> PerformedStep:
    return PerformedStep(state, frozenset({STUDY}), made)
