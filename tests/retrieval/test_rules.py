import pytest

from node.dicom.identifiers import SeriesUID, StudyUID
from node.retrieval.answers import SeriesAnswer, StudyAnswer
from node.retrieval.rules import missing_series, of_regions, other_patient, priors, same_patient, spine_regions

PATIENT = ("P1", "")


def study(uid: str = "2.25.2", **changed: object) -> StudyAnswer:
    values = {
        "patient_id": "P1",
        "issuer": "",
        "birth_date": "",
        "acquired": "20250101",
        "description": "MRI lumbar spine",
        "modalities": frozenset({"MR"}),
    }
    return StudyAnswer(StudyUID(uid), **(values | changed))


def series(number: int = 1, instances: int | None = 4, modality: str = "MR", description: str = "") -> SeriesAnswer:
    return SeriesAnswer(SeriesUID(f"2.25.2.{number}"), modality, description, "", instances)


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("MRI cervical spine", {"cervical"}),
        ("MR HWS nativ", {"cervical"}),
        ("CSPINE", {"cervical"}),
        ("C-Spine wo", {"cervical"}),
        ("MRT BWS", {"thoracic"}),
        ("Rachis dorsal", {"thoracic"}),
        ("T-SPINE", {"thoracic"}),
        ("thorakale Wirbelsäule", {"thoracic"}),
        ("LSPINE", {"lumbar"}),
        ("MR LWS mit KM", {"lumbar"}),
        ("Rachide lombo-sacrale", {"lumbar"}),
        ("LWK 3", {"lumbar"}),
        ("IRM rachis lombaire", {"lumbar"}),
        ("BWS und LWS", {"thoracic", "lumbar"}),
        ("whole spine", set()),
        ("Wirbelsaeule ganz", set()),
        ("columna completa", set()),
        ("MRI brain", None),
        ("Knie links", None),
        ("", None),
        ("NEWS", None),
        ("classic wrist", None),
    ],
)
def test_a_description_names_regions_of_the_spine_or_none(text: str, regions: set[str] | None) -> None:
    assert spine_regions([text]) == regions


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (("P1", ""), ("P1", ""), True),
        (("P1", "A"), ("P1", "A"), True),
        (("P1", "A"), ("P1", ""), True),  # many archives do not say
        (("P1", ""), ("P1", "A"), True),
        (("P1", "A"), ("P1", "B"), False),
        (("P1", ""), ("P10", ""), False),
        (("P1 ", ""), ("P1", ""), True),  # padding is not significant
        (("", ""), ("", ""), False),  # nobody's
    ],
)
def test_a_patient_is_an_id_and_its_issuer(ours: tuple[str, str], theirs: tuple[str, str], same: bool) -> None:
    assert same_patient(ours, study(patient_id=theirs[0], issuer=theirs[1])) is same


@pytest.mark.parametrize(
    ("ours", "theirs", "other"),
    [
        (("P1", ""), ("P1", ""), False),
        (("P1", ""), ("P2", ""), True),
        (("P1", "A"), ("P1", "B"), True),
        (("", ""), ("P1", ""), False),  # ours does not say
        (("P1", ""), ("", ""), False),
        (("M\xfcller", ""), ("Müller", ""), False),
        (("M\xc3\xbcller", ""), ("Müller", ""), False),  # UTF-8, read as Latin-1: not to be compared
    ],
)
def test_another_patient_is_one_for_certain(ours: tuple[str, str], theirs: tuple[str, str], other: bool) -> None:
    assert other_patient(ours, study(patient_id=theirs[0], issuer=theirs[1])) is other


def chosen(
    *candidates: StudyAnswer, known: StudyAnswer | None = None, regions: frozenset[str] | None = None
) -> list[str]:
    found = priors(
        candidates,
        study=StudyUID("2.25.1"),
        patient=PATIENT,
        known=known,
        regions=regions,
        today="20260105",
        days=1825,
        most=5,
    )
    return [one.study for one in found]


def test_priors_come_newest_first() -> None:
    assert chosen(study("2.25.3", acquired="20240101"), study("2.25.4", acquired="20250101")) == ["2.25.4", "2.25.3"]


def test_an_earlier_study_of_the_same_day_is_a_prior_and_a_later_one_is_not() -> None:
    known = study("2.25.1", acquired="20260102120000")

    found = chosen(study("2.25.3", acquired="20260102080000"), study("2.25.4", acquired="20260102130000"), known=known)

    assert found == ["2.25.3"]


def test_a_study_without_a_date_is_no_prior() -> None:
    assert chosen(study(acquired="")) == []


def test_a_person_of_the_same_id_and_another_birth_date_is_another_patient() -> None:
    known = study("2.25.1", birth_date="19500101", acquired="20260102")

    assert chosen(study(birth_date="19990101"), known=known) == []
    assert chosen(study(birth_date="19500101"), known=known) == ["2.25.2"]


def test_a_study_without_mr_is_no_prior() -> None:
    assert chosen(study(modalities=frozenset({"CT", "SR"}))) == []


def test_a_prior_of_another_region_is_none_and_one_of_the_whole_spine_is_one() -> None:
    lumbar = frozenset({"lumbar"})

    assert chosen(study(description="MRI cervical spine"), regions=lumbar) == []
    assert chosen(study(description="whole spine"), regions=lumbar) == ["2.25.2"]


def test_a_study_whose_description_is_empty_is_judged_by_its_series() -> None:
    silent = study(description="")

    assert chosen(silent, regions=frozenset({"lumbar"})) == ["2.25.2"]
    assert of_regions(series(description="LWS t1 tra"), silent, frozenset({"lumbar"}))
    assert not of_regions(series(description="HWS t1 tra"), silent, frozenset({"lumbar"}))
    assert not of_regions(series(description="t1 tra"), silent, frozenset({"lumbar"}))


def lacking(*archived: SeriesAnswer, held: dict[str, int], planes_only: bool = False) -> list[str]:
    ours = {SeriesUID(uid): number for uid, number in held.items()}
    return [one.series for one in missing_series(archived, ours, planes_only=planes_only, most_instances=100)]


def test_a_series_is_missing_if_the_archive_has_more_of_it() -> None:
    held = {"2.25.2.1": 4, "2.25.2.2": 3, "2.25.2.4": 9}

    assert lacking(series(1), series(2), series(3), series(4), held=held) == ["2.25.2.2", "2.25.2.3"]


def test_a_series_without_a_number_is_missing_only_if_we_hold_none_of_it() -> None:
    assert lacking(series(1, None), series(2, None), held={"2.25.2.1": 1}) == ["2.25.2.2"]


def test_what_is_no_mr_is_never_missing() -> None:
    assert lacking(series(1, modality="SR"), series(2, modality=""), held={}) == []
