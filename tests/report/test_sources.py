import datetime as dt

import pytest
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.report import build
from node.settings import ReportSettings
from tests.report.builders import MEASUREMENTS, STARTED, classic_series, evidence, objects

SMALL = MEASUREMENTS["no findings"]


def both(edit) -> list[Dataset]:
    """A report and a segmentation of a study whose headers are so."""
    return list(objects(SMALL, evidence("post", edit=edit)).values())


def test_missing_type_2_attributes_are_written_empty():
    missing = (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate",
        "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator", "SliceThickness", "SpacingBetweenSlices",
    )  # fmt: skip

    def strip(header: Dataset) -> None:
        for keyword in missing:
            delattr(header, keyword)

    for dataset in both(strip):
        assert dataset["PatientID"].is_empty
        assert dataset["StudyTime"].is_empty
        assert dataset["AccessionNumber"].is_empty


@pytest.mark.parametrize(("received", "written"), [("F", "F"), ("O", "O"), ("X", ""), ("", "")])
def test_a_sex_that_the_standard_does_not_know_is_unknown(received, written):
    for dataset in both(lambda header: setattr(header, "PatientSex", received)):
        assert (dataset.PatientSex or "") == written


@pytest.mark.parametrize(
    ("charset", "patient"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Łukasz^Żółć"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ],
)
def test_a_name_survives_in_whatever_character_set_it_came(charset, patient):
    def name(header: Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = charset, patient

    for dataset in both(name):
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(dataset.PatientName) == patient


def test_text_inside_a_copied_sequence_survives_as_well():
    def order(header: Dataset) -> None:
        request = Dataset()
        request.RequestedProcedureDescription = "Wirbelsäule"
        header.RequestAttributesSequence = [request]

    sr = objects(SMALL, evidence("pre", "post", edit=order))["sr"]

    assert sr.ReferencedRequestSequence[0].RequestedProcedureDescription == "Wirbelsäule"


@pytest.mark.parametrize(
    ("received", "written"),
    [("101500.1234567", "101500.123456"), ("10:15:00", "101500"), ("1015", "1015"), ("morning", "")],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR TM")
def test_a_time_that_is_not_quite_valid_is_mended_or_left_out(received, written):
    for dataset in both(lambda header: setattr(header, "StudyTime", received)):
        assert (dataset.StudyTime or "") == written


@pytest.mark.parametrize(("received", "written"), [("1950.01.01", "19500101"), ("01/02/1950", ""), ("", "")])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_a_date_that_is_not_quite_valid_is_mended_or_left_out(received, written):
    for dataset in both(lambda header: setattr(header, "PatientBirthDate", received)):
        assert (dataset.PatientBirthDate or "") == written


@pytest.mark.filterwarnings("error")
def test_no_warning_quotes_a_name():
    series = evidence("pre", "post", edit=lambda header: setattr(header, "PatientName", "Bono"))

    assert str(objects(SMALL, series)["sr"].PatientName) == "Bono"


def test_times_are_written_in_the_zone_of_the_source():
    for dataset in both(lambda header: setattr(header, "TimezoneOffsetFromUTC", "-0530")):
        assert (dataset.ContentTime, dataset.TimezoneOffsetFromUTC) == ("053000", "-0530")
        assert dataset.StudyTime == "101500"


def test_times_are_written_in_the_zone_of_the_start_if_the_source_has_none():
    started = STARTED.astimezone(dt.timezone(dt.timedelta(hours=1)))

    results = build(SMALL, evidence("pre", "post"), settings=ReportSettings(), started=started)

    for result in results:
        assert (result.dataset.ContentTime, result.dataset.TimezoneOffsetFromUTC) == ("120000", "+0100")


def test_a_start_without_a_time_zone_is_refused():
    with pytest.raises(ReportError, match="time zone"):
        build(SMALL, evidence("post"), settings=ReportSettings(), started=STARTED.replace(tzinfo=None))


def test_instances_of_two_studies_are_refused():
    other = classic_series("post", edit=lambda header: setattr(header, "StudyInstanceUID", "2.25.5"))

    with pytest.raises(ReportError, match="one study, found 2"):
        objects(SMALL, (classic_series("pre"), other))


def test_instances_of_two_patients_do_not_pass_the_gate():
    other = classic_series("post", edit=lambda header: setattr(header, "PatientID", "PVM0002"))

    with pytest.raises(ReportError, match="PatientID differs") as raised:
        objects(SMALL, (classic_series("pre"), other))
    assert "PVM0002" not in str(raised.value)


def test_a_report_needs_a_header():
    with pytest.raises(ReportError, match="found none"):
        objects(SMALL, ())


def test_the_sources_are_left_as_they_were():
    series = evidence("pre", "post")
    before = [header.to_json() for one in series for header in one.headers]

    objects(SMALL, series)

    assert [header.to_json() for one in series for header in one.headers] == before
