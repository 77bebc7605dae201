"""What an operator sees of deliveries, and does about them."""

import json
from pathlib import Path

import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage, SegmentationStorage

from node.checks import Verdict, run_checks
from node.delivery import Folder, probe
from node.dicom.identifiers import InstanceUID
from node.errors import DeliveryError, RefusedError, SettingsError
from node.ledger.rulings import Rulings
from node.ledger.standing import standing
from node.records import RECALL_NOTE, DeliveryState, KnownStudy, ResultRecord
from node.settings import DestinationSettings, Settings
from tests.builders import part10
from tests.cli.test_cli import run
from tests.delivery.desk import CALLER, Desk, objects, peer, storage
from tests.delivery.test_fallback import KO_UID, SR_3D, SR_COMPREHENSIVE, SR_ENHANCED, Picky, key_objects
from tests.delivery.test_identity import OURS, Knows
from tests.delivery.test_outbox import Scripted

__all__ = ["run"]  # a fixture


def test_a_held_result_is_on_the_list_and_is_released_by_name(run, desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()
    desk.run(desk.outbox(Scripted("stored"), inquiry=Knows(KnownStudy("OTHER", "", ""))))
    listed = run("jobs", "list", "--waiting", "--data", str(tmp_path))[1]
    status = run("status", "--data", str(tmp_path))[1]

    released = run("jobs", "release", job, "--data", str(tmp_path))
    again = run("jobs", "release", job, "--data", str(tmp_path))

    assert job in listed
    assert "2 held (the study is there under another Patient ID)" in " ".join(listed.split())
    assert "jobs release JOB" in status
    assert (released[0], released[1]) == (0, f"{job}: 2 objects owed to pacs, to be sent without another look\n")
    assert (again[0], again[2]) == (1, f"refused: {job}: no delivery of it is held\n")
    assert all(one.released_by for one in desk.deliveries.rows(job))


def test_what_is_held_for_several_destinations_is_released_to_one_that_is_named(
    run, desk: Desk, tmp_path: Path
) -> None:
    job = desk.owe(None, "pacs", "viewer")
    for name in ("pacs", "viewer"):
        desk.run(desk.outbox(Scripted("stored", name=name), inquiry=Knows(KnownStudy("OTHER", "", ""))))

    unnamed = run("jobs", "release", job, "--data", str(tmp_path))
    named = run("jobs", "release", job, "--to", "viewer", "--data", str(tmp_path))

    assert (unnamed[0], unnamed[2]) == (1, f"refused: {job}: say by --to which of them: pacs, viewer\n")
    assert named[0] == 0
    held = {(one.destination, one.state is DeliveryState.HELD) for one in desk.deliveries.rows(job)}
    assert held == {("pacs", True), ("viewer", False)}


def test_a_parked_result_is_owed_again_by_retry_and_who_wanted_that_is_listed(
    run, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "curie")
    job = desk.owe()
    outbox = desk.outbox(Scripted("never"))
    said = []
    for by in ([], ["--by", "meitner"]):
        desk.run(outbox, after_s=1e10)  # the verb is of today
        said.append(run("jobs", "retry", job, *by, "--data", str(tmp_path))[:2])
    too_late = run("jobs", "retry", job, "--data", str(tmp_path))[0]
    listed = json.loads(run("log", "--data", str(tmp_path), "--json")[1])
    shown = run("log", "--data", str(tmp_path))[1]

    assert said == [(0, f"{job}: 2 objects owed again\n")] * 2
    assert too_late == 1
    assert {state for state, _ in desk.states(job)} == {DeliveryState.OWED}
    done = [(one["subject"], one["what"], one["who"], one["detail"]) for one in listed]
    assert done == [(job, "retried", who, "2 objects owed again") for who in ("meitner", "curie")]
    assert "meitner" in shown


@pytest.mark.parametrize("verb", ["retry", "release"])
def test_what_a_newer_revision_has_passed_is_sent_only_if_that_is_said(
    run, desk: Desk, tmp_path: Path, verb: str
) -> None:
    inquiry = None if verb == "retry" else Knows(KnownStudy("OTHER", "", ""))
    older = desk.owe()
    desk.run(desk.outbox(Scripted("never"), inquiry=inquiry))
    newer = desk.owe(objects(2))
    desk.run(desk.outbox(Scripted("stored")))

    refused = run("jobs", verb, older, "--data", str(tmp_path))
    wanted = run("jobs", verb, older, "--although-newer", "--data", str(tmp_path))

    assert (refused[0], refused[2]) == (
        1, f"refused: {older}: newer results of its study are at pacs already\n",
    )  # fmt: skip
    assert wanted[0] == 0
    assert {state for state, _ in desk.states(older)} == {DeliveryState.OWED}
    assert {state for state, _ in desk.states(newer)} == {DeliveryState.STORED}


def test_a_retry_says_where_it_was_too_late(run, desk: Desk, tmp_path: Path) -> None:
    older = desk.owe(None, "pacs", "viewer")
    for name in ("pacs", "viewer"):
        desk.run(desk.outbox(Scripted("never", name=name)))
    desk.owe(objects(2))
    desk.run(desk.outbox(Scripted("stored")))

    code, out, _err = run("jobs", "retry", older, "--data", str(tmp_path))

    said = f"{older}: 2 objects owed again; newer results of its study are at pacs already"
    assert (code, " ".join(out.split())) == (0, said)
    assert {(one.destination, one.state) for one in desk.deliveries.rows(older)} == {
        ("pacs", DeliveryState.PARKED), ("viewer", DeliveryState.OWED),
    }  # fmt: skip


def test_of_a_recalled_job_the_note_alone_is_tried_again(run, desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()
    outbox = desk.outbox(Scripted("later", "never"))
    desk.run(outbox)
    path = desk.results.store(part10(key_objects()))
    note = ResultRecord(InstanceUID(KO_UID), KeyObjectSelectionDocumentStorage, job, RECALL_NOTE, path)
    Rulings(desk.ledger.database).recall(job, note, "Curie", "wrong", now=desk.now)
    desk.run(outbox)
    newer = desk.owe(objects(2))
    desk.run(desk.outbox(Scripted("stored")), after_s=1000.0)

    code, out, _err = run("jobs", "retry", job, "--data", str(tmp_path))

    assert (code, out) == (0, f"{job}: 1 objects owed again\n")
    assert {one.role: one.state for one in desk.deliveries.rows(job)} == {
        "seg": DeliveryState.WITHDRAWN, "sr": DeliveryState.WITHDRAWN, RECALL_NOTE: DeliveryState.OWED,
    }  # fmt: skip
    assert {state for state, _ in desk.states(newer)} == {DeliveryState.STORED}


def test_a_job_shows_as_what_its_report_was_sent(run, desk: Desk, tmp_path: Path) -> None:
    job = desk.owe()
    with Picky(SegmentationStorage, SR_COMPREHENSIVE) as archive:
        desk.run(desk.outbox(storage(archive.port)))

    shown = json.loads(run("jobs", "show", job, "--data", str(tmp_path), "--json")[1])

    assert [(one["object"], one["state"], one["sent_as"]) for one in shown["objects"]] == [
        ("seg", "stored", ""),
        ("sr", "stored", "Comprehensive SR Storage"),
    ]


def test_a_destination_is_asked_beforehand_what_it_takes() -> None:
    with Picky(SegmentationStorage, SR_ENHANCED) as older, Picky(SegmentationStorage, SR_3D) as newer:
        with pytest.raises(RefusedError) as of_older:
            probe(peer(older.port, objects=["sr", "seg", "ko"], commitment=True), CALLER)
        of_newer = probe(peer(newer.port, objects=["sr", "seg"]), CALLER)

    assert str(of_older.value) == (
        "takes sr, seg; the report as Enhanced SR Storage; refuses ko: those will be parked; "
        "offers no storage commitment: turn commitment off, or everything will be parked"
    )
    assert of_newer == "takes sr, seg"


def test_a_folder_is_written_beforehand_as_the_node_would_and_nothing_is_left_of_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def reach(folder: Path) -> str:
        return Folder(DestinationSettings(name="shelf", kind="folder", folder=folder), CALLER).reach()

    assert reach(tmp_path) == f"{tmp_path} is writable"
    assert reach(tmp_path / "new/one") == f"{tmp_path}/new/one is not there: it is made when something is delivered"
    for folder in (tmp_path / "file", tmp_path / "file/one", tmp_path / ("n" * 300), Path("/proc/self")):
        with pytest.raises(SettingsError, match=r" cannot be written \(.+\): nothing is delivered there$") as raised:
            reach(folder)
        assert str(raised.value).startswith(str(folder))
    assert [one.name for one in tmp_path.iterdir()] == ["file"]  # whoever checks leaves nothing: it may be root


def test_check_asks_each_destination_in_its_own_way(tmp_path: Path) -> None:
    web = {"name": "web", "kind": "dicomweb", "options": {"url": "http://127.0.0.1:1"}}
    shelves = [
        {"name": name, "kind": "folder", "folder": str(folder)}
        for name, folder in {"shelf": tmp_path, "read-only": "/proc/self"}.items()
    ]
    settings = Settings.checked(
        {"node": {"data_dir": str(tmp_path / "data")}, "association": {"port": 0}, "destination": [web, *shelves]}
    )

    found = {one.name: (one.verdict, one.found) for one in run_checks(settings)}

    assert found["dicomweb web"] == (
        Verdict.WARNING, "cannot be reached, or does not answer: deliveries will wait",
    )  # fmt: skip
    assert found["folder shelf"] == (Verdict.OK, f"{tmp_path} is writable")
    assert [name for name, (verdict, _) in found.items() if verdict is Verdict.FAULT] == ["folder read-only"]


def test_check_says_what_readers_at_a_destination_miss_that_does_not_get_all_that_is_made(tmp_path: Path) -> None:
    shelves = {"all": None, "reports": ["sr"], "pictures": ["sr", "seg", "map", "key-images"], "notes": ["ko"]}
    settings = Settings.checked(
        {
            "node": {"data_dir": str(tmp_path / "data")},
            "association": {"port": 0},
            "report": {"objects": ["seg", "key-images", "ko"]},
            "destination": [
                {"name": name, "kind": "folder", "folder": str(tmp_path)} | ({"objects": roles} if roles else {})
                for name, roles in shelves.items()
            ],
        }
    )

    found = {one.name: one.found for one in run_checks(settings) if one.name.startswith("references")}

    assert found == {
        "references at reports": "what refers to seg, key-images, ko goes there without: its readers do not see "
        "outlines of muscles and lesions, the pictures",
        "references at pictures": "what refers to ko goes there without",
        "references at notes": "what refers to key-images goes there without: its readers do not see the pictures",
    }


def test_a_status_looks_up_the_jobs_of_what_is_owed_alone(desk: Desk) -> None:
    asked: list[str] = []
    connection = desk.ledger.database.connection
    connection.set_trace_callback(asked.append)
    standing(desk.ledger.database)
    connection.set_trace_callback(None)

    plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]

    assert "SCAN delivery" in plan[0]
    began = [number for number, one in enumerate(plan) if "CORRELATED" in one]
    assert all("USING INDEX ix_delivery_state" in plan[number + 1] for number in began)
    assert not any("result" in one or "job" in one for one in plan[: began[0]])


def test_a_status_says_how_it_stands_with_each_destination(run, desk: Desk, tmp_path: Path) -> None:
    desk.owe(None, "pacs", "shelf", "viewer", "web")
    settled_s = desk.now
    desk.now += 100.0
    desk.owe(objects(2), "pacs", study=2)
    desk.run(desk.outbox(Scripted(DeliveryError("no association"))))
    desk.run(desk.outbox(Scripted("stored", name="shelf")))
    desk.run(desk.outbox(Scripted("never", name="viewer")))
    desk.run(desk.outbox(Scripted("stored", name="web"), inquiry=Knows(OURS)))

    shown = json.loads(run("status", "--data", str(tmp_path), "--json")[1])["destinations"]
    said = run("status", "--data", str(tmp_path))[1]

    assert [tuple(one.values()) for one in shown] == [
        ("pacs", 4, 0, 0, 0, settled_s, "no association"),
        ("shelf", 0, 0, 2, 0, None, ""),
        ("viewer", 0, 2, 0, 0, None, "never"),
        ("web", 0, 0, 2, 2, None, ""),
    ]
    assert [one["oldest_job_ended_s"] for one in shown] == [settled_s, None, None, None]
    assert "no association" in said
    assert "job ended" in said


def test_a_recall_says_which_other_results_of_the_study_still_hold(run, desk: Desk, tmp_path: Path) -> None:
    first, second = desk.owe(objects(1)), desk.owe(objects(2))
    desk.run(desk.outbox(Scripted("stored")))
    words = ("--user", "Curie^Marie", "--reason", "wrong", "--data", str(tmp_path))

    newest = run("recall", second, *words)
    oldest = run("recall", first, *words)
    forced = run("force-complete", desk.ledger.study_rows(1)[0].alias, "--data", str(tmp_path))

    assert f"other results of this study still hold there: {first}; each is recalled by itself" in newest[1]
    assert oldest[1] == f"{first}: recalled; a note is owed to pacs\n"
    assert "its next job ends as 'repeats ...' unless" in forced[1]
