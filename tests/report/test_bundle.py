import io
import pickle
from dataclasses import replace

from pydicom.dataset import Dataset

from node.findings import Measurement
from node.report import build
from node.report.codes import PRIVATE_SCHEME
from node.settings import ReportSettings
from tests.builders import part10
from tests.report.builders import MEASUREMENTS, STARTED, WITH_LESION, built, evidence, objects, regions


def test_building_twice_gives_the_same_bytes():
    first, second = objects(), objects()

    assert {role: part10(dataset) for role, dataset in first.items()} == {
        role: part10(dataset) for role, dataset in second.items()
    }


def test_the_order_in_which_instances_arrived_does_not_change_the_identity():
    turned = tuple(
        replace(one, headers=one.headers[::-1], slices=tuple((7 - index, frame) for index, frame in one.slices))
        for one in evidence()
    )

    assert built()["sr"].SOPInstanceUID == objects(series=turned)["sr"].SOPInstanceUID


def test_another_configuration_gives_other_identities():
    other = replace(WITH_LESION, algorithm=replace(WITH_LESION.algorithm, configuration_hash="0" * 64))

    mine, theirs = built(), objects(Measurement(other, regions()))

    for role in mine:
        assert mine[role].SOPInstanceUID != theirs[role].SOPInstanceUID
        assert mine[role].SeriesInstanceUID != theirs[role].SeriesInstanceUID


def test_every_kind_has_a_series_of_its_own():
    made = built()

    assert len({dataset.SeriesInstanceUID for dataset in made.values()}) == len(made)
    assert {role: dataset.SeriesNumber for role, dataset in made.items()} == {
        "seg-lesions": 9021,
        "seg-muscles": 9001,
        "seg-vessels": 9011,
        "sr": 9004,
    }


def test_the_report_is_sent_after_what_it_refers_to():
    results = build(MEASUREMENTS["findings with MRV"], evidence(), settings=ReportSettings(), started=STARTED)

    assert [result.role for result in results] == ["seg-lesions", "seg-muscles", "seg-vessels", "sr"]


def test_no_time_comes_from_a_clock():
    for dataset in built().values():
        for element in dataset.iterall():
            if element.VR in ("DA", "TM", "DT") and element.value:
                assert str(element.value).startswith(("20260102", "110000", "101500", "19500101")), element.keyword


def test_an_object_is_ready_to_be_sent():
    for dataset in built().values():
        assert dataset.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_an_object_can_leave_the_process_that_made_it():
    for dataset in built().values():
        assert part10(pickle.loads(pickle.dumps(dataset))) == part10(dataset)


def test_every_object_says_that_it_is_investigational():
    for dataset in built().values():
        assert "investigational" in dataset.SeriesDescription
        assert len(dataset.SeriesDescription) <= 64


def test_the_private_scheme_is_identified_where_it_is_used():
    for dataset in built().values():
        used = {element.value for element in dataset.iterall() if element.keyword == "CodingSchemeDesignator"}
        identified = {item.CodingSchemeDesignator for item in dataset.CodingSchemeIdentificationSequence}
        assert (PRIVATE_SCHEME in used) == (PRIVATE_SCHEME in identified)


def test_the_algorithm_is_named_as_contributing_equipment():
    for dataset in built().values():
        (item,) = [one for one in dataset.ContributingEquipmentSequence if "DeviceUID" in one]
        assert (item.ManufacturerModelName, item.SoftwareVersions) == ("PVM contrast-enhancement analysis", "0.1.0")


def test_the_product_is_named_as_the_settings_say():
    settings = ReportSettings(manufacturer="Maker", model="Model", serial_number="7", institution="Hospital")

    results = build(MEASUREMENTS["no findings"], evidence(), settings=settings, started=STARTED)

    for dataset in (result.dataset for result in results):
        assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("Maker", "Model")
        assert (dataset.DeviceSerialNumber, dataset.InstitutionName) == ("7", "Hospital")


def test_a_report_stays_small():
    content = io.BytesIO()
    sr: Dataset = built()["sr"]
    sr.save_as(content)

    assert len(content.getvalue()) < 60_000  # archives index the whole tree; highdicom's own library: 319 kB
