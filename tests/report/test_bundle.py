import io
import pickle
from dataclasses import replace

from pydicom.dataset import Dataset

from node.findings import Measurement
from node.records import ResultRole
from node.report import build
from node.report.codes import PRIVATE_SCHEME
from node.settings import ReportSettings
from tests.builders import part10
from tests.report.builders import (
    MEASUREMENTS,
    STARTED,
    WITH_LESION,
    built,
    everything,
    evidence,
    name,
    objects,
    regions,
    value,
    walk,
)


def test_building_twice_gives_the_same_bytes():
    first, second = everything(), objects(wanted=tuple(ResultRole))

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
    made = everything()

    assert len({dataset.SeriesInstanceUID for dataset in made.values()}) == len(made) - 1  # two key images
    assert {name: dataset.SeriesNumber for name, dataset in made.items()} == {
        "seg-lesions": 9021,
        "seg-muscles": 9001,
        "seg-vessels": 9011,
        "map": 9002,
        "key-image-1": 9003,
        "key-image-2": 9003,
        "sr": 9004,
        "outlines": 9007,
        "ko": 9005,
        "pdf": 9006,
    }


def test_every_object_is_sent_after_what_it_refers_to():
    settings = ReportSettings(objects=tuple(ResultRole))
    results = build(MEASUREMENTS["findings with MRV"], evidence(), settings=settings, started=STARTED)

    roles = [result.role for result in results]
    known = {str(header.SOPInstanceUID) for one in evidence() for header in one.headers}
    assert roles == sorted(roles, key=list(ResultRole).index)
    for result in results:
        assert referred_in_content(result.dataset) <= known
        known.add(str(result.dataset.SOPInstanceUID))


def referred_in_content(dataset: Dataset) -> set[str]:
    """The report's evidence also names what comes after it."""
    if dataset.Modality != "SR":
        return referred(dataset)
    return {uid for item in walk(dataset) for uid in referred(item)}


def referred(dataset: Dataset) -> set[str]:
    return {str(one.value) for one in dataset.iterall() if one.keyword == "ReferencedSOPInstanceUID"}


def test_all_results_can_be_reached_from_the_report():
    made = everything()

    assert {str(one.SOPInstanceUID) for name, one in made.items() if name != "sr"} <= referred(made["sr"])


def test_what_the_settings_do_not_want_is_not_made():
    assert [*objects(wanted=())] == ["sr"]
    assert [*objects(wanted=(ResultRole.MAP,))] == ["map", "sr"]


def test_without_a_finding_there_is_nothing_to_point_to():
    assert [*everything("no findings")] == ["seg-muscles", "map", "sr", "pdf"]
    assert [*everything("refused without muscles")] == ["sr", "pdf"]


def test_no_time_comes_from_a_clock():
    for dataset in everything().values():
        for element in dataset.iterall():
            if element.VR in ("DA", "TM", "DT") and element.value:
                assert str(element.value).startswith(("20260102", "110000", "101500", "19500101")), element.keyword


def test_an_object_is_ready_to_be_sent():
    for dataset in everything().values():
        assert dataset.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_an_object_can_leave_the_process_that_made_it():
    for dataset in everything().values():
        assert part10(pickle.loads(pickle.dumps(dataset))) == part10(dataset)


def test_every_object_says_that_it_is_investigational():
    for dataset in everything().values():
        assert "investigational" in dataset.SeriesDescription
        assert len(dataset.SeriesDescription) <= 64


def test_the_private_scheme_is_identified_where_it_is_used():
    for dataset in everything().values():
        used = {element.value for element in dataset.iterall() if element.keyword == "CodingSchemeDesignator"}
        identified = {item.CodingSchemeDesignator for item in dataset.CodingSchemeIdentificationSequence}
        assert (PRIVATE_SCHEME in used) == (PRIVATE_SCHEME in identified)


def test_the_algorithm_is_named_as_contributing_equipment():
    for dataset in everything().values():
        (item,) = [one for one in dataset.ContributingEquipmentSequence if "DeviceUID" in one]
        assert (item.ManufacturerModelName, item.SoftwareVersions) == ("PVM contrast-enhancement analysis", "0.1.0")


def test_each_algorithm_within_the_analysis_is_a_device_of_its_own_by_its_version():
    def devices(segmenter: str) -> dict[str, str]:
        parameters = {"segmenter": segmenter, "detector": "multiscale 3", "labeller": "none 1"}
        algorithm = replace(WITH_LESION.algorithm, parameters=parameters)
        made = objects(Measurement(replace(WITH_LESION, algorithm=algorithm), regions()), wanted=())
        found = [one for one in made["sr"].ContributingEquipmentSequence if "DeviceUID" in one]
        return {f"{one.ManufacturerModelName} {one.SoftwareVersions}": str(one.DeviceUID) for one in found[1:]}

    before, after = devices("unet 1.11000, else compartments 1.2"), devices("unet 1.12000, else compartments 1.2")

    assert list(before) == ["unet 1.11000", "compartments 1.2", "multiscale 3"]
    assert before["unet 1.11000"] != after["unet 1.12000"]
    assert before["multiscale 3"] == after["multiscale 3"]


def test_the_product_is_named_as_the_settings_say():
    settings = ReportSettings(manufacturer="Maker", model="Model", serial_number="7", institution="Hospital")

    results = build(MEASUREMENTS["no findings"], evidence(), settings=settings, started=STARTED)

    for dataset in (result.dataset for result in results):
        assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("Maker", "Model")
        assert (dataset.DeviceSerialNumber, dataset.InstitutionName) == ("7", "Hospital")


def test_a_report_stays_small():
    content = io.BytesIO()
    sr: Dataset = everything("levels and a suspicion by EMG")["sr"]
    sr.save_as(content)

    assert len(content.getvalue()) < 110_000  # archives index the whole tree; highdicom's own library: 319 kB


def test_every_object_carries_a_name_that_nobody_can_read_byte_for_byte():
    def unknown_set(header: Dataset) -> None:
        header.SpecificCharacterSet = "ISO_IR 999"
        header.add_new("PatientName", "PN", b"M\xfcller^J\xfcrgen")

    made = objects(series=evidence(edit=unknown_set), wanted=tuple(ResultRole))

    assert len(made) == 10
    for one, dataset in made.items():
        content = part10(dataset)
        assert b"M\xfcller^J\xfcrgen" in content, one
        assert b"ISO_IR 999" in content, one


def test_headers_without_what_may_be_empty_stop_no_object():
    def bare(header: Dataset) -> None:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "AccessionNumber"):
            delattr(header, keyword)

    assert len(objects(series=evidence(edit=bare), wanted=tuple(ResultRole))) == 10


def test_the_algorithm_is_called_learned_only_where_it_is():
    def family(segmenter: str) -> str:
        algorithm = replace(WITH_LESION.algorithm, parameters={"segmenter": segmenter})
        made = objects(Measurement(replace(WITH_LESION, algorithm=algorithm), regions()))
        found = [value(one) for one in walk(made["sr"]) if name(one) == "Algorithm Family"]
        (of_segment,) = {
            segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0].CodeMeaning
            for segment in made["seg-lesions"].SegmentSequence
        }
        assert found == [of_segment]
        return of_segment

    assert family("compartments 1.2") == "Histogram Analysis"
    assert family("unet 1.11000") == "Artificial Intelligence"
    assert family("somebody's 3.0") == "Artificial Intelligence"
