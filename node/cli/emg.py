"""Verbs of what EMG suspects: tell it, take it back, see what holds."""

from collections.abc import Sequence
from typing import Annotated

import typer

from node.cli.options import DataOption, JsonOption, StudyArgument, settings_of
from node.cli.show import ago, print_json, print_table, say, table
from node.errors import StatementError


def add(
    context: typer.Context,
    level: Annotated[str, typer.Option(help="A nerve root from C1 to S1, or two neighbours: L4, L4/5.")],
    side: Annotated[str, typer.Option(help="left, right or both, of the patient.")],
    study: Annotated[
        str | None, typer.Argument(help="A study by its alias or Study Instance UID; or one of the keys below.")
    ] = None,
    accession: Annotated[str | None, typer.Option(help="The study's Accession Number, if STUDY is not known.")] = None,
    patient_id: Annotated[
        str | None, typer.Option(help="Its Patient ID, with --study-date, if neither is known.")
    ] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer of the Patient ID, where several sites give them.")] = None,
    study_date: Annotated[str | None, typer.Option(help="Study Date, YYYYMMDD, with --patient-id.")] = None,
    data: DataOption = None,
) -> None:
    """Say what EMG found in the patient of a study; the study may come later, and is measured again if it has been."""
    from node.console import Console
    from node.emg import BY_HAND, statement

    if not (study or accession or (patient_id and study_date)):
        raise typer.BadParameter("no study: give STUDY, or --accession, or --patient-id with --study-date")
    console = Console(settings_of(context, data_dir=data))
    uid = "" if study is None else console.study_uid(study) or study
    values = {
        "study_instance_uid": uid, "accession_number": accession, "patient_id": patient_id,
        "issuer_of_patient_id": issuer, "study_date": study_date, "level": level, "side": side,
    }  # fmt: skip
    try:
        told = statement(values, BY_HAND)
    except StatementError as error:
        raise typer.BadParameter(str(error)) from error
    _tell_measured_again(console.tell(told))


def forget(context: typer.Context, study: StudyArgument, data: DataOption = None) -> None:
    """Take back what was told of a study, by `emg add` or in the drop folder; its order counts again."""
    from node.console import Console

    console = Console(settings_of(context, data_dir=data))
    _tell_measured_again(console.forget(console.study_uid(study) or study))


def list_suspicions(context: typer.Context, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List what was told, with what became of it, and what each study was measured with: of all sources the first."""
    from node.console import Console

    found = Console(settings_of(context, data_dir=data)).suspicions()
    if as_json:
        print_json(found)
        return
    measured = table(
        "study", "level", "side", "source", "basis", "not taken because", title="measured with", whole=("study",)
    )
    for one in found["studies"]:
        measured.add_row(one["study_alias"], one["level"], one["side"], one["source"], one["basis"], one["unclear"])
    told = table("told", "by", "level", "side", "for", "study", "what became of it", title="told", whole=("study",))
    for one in found["statements"]:
        told.add_row(
            ago(one["entered_s"]), one["source"], one["level"], one["side"], one["key"], one["study_alias"],
            one["standing"],
        )  # fmt: skip
    print_table(measured)
    print_table(told)
    say(f"{found['waiting']} statements wait for their study")
    say("first counts what emg add says, then the drop folder, then a site rule, then the order's own words")


def _tell_measured_again(studies: Sequence[str]) -> None:
    for study in studies:
        say(f"{study}: is measured again")
    if not studies:
        say("noted; no study that was measured is measured again")
