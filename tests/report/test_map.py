"""The parametric map: values, place and references, read back by highdicom and by hand."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.findings import Measurement
from node.records import ResultRole
from node.report.maps import NOT_MEASURED_PCT
from tests.report.builders import (
    SPACING_MM,
    THICKNESS_MM,
    WITH_LESION,
    classic_series,
    enhanced_series,
    everything,
    items,
    objects,
    position_mm,
    regions,
)


def map_of(series: tuple[object, ...] | None = None, **changes: object) -> Dataset | None:
    measurement = Measurement(WITH_LESION, replace(regions(), **changes))
    return objects(measurement, series, wanted=(ResultRole.MAP,)).get("map")  # type: ignore[arg-type]


def values(dataset: Dataset) -> np.ndarray:
    """The percent of each voxel, by Real World Value Mapping."""
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(-1, dataset.Rows, dataset.Columns)
    return pixels * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept


def uneven() -> np.ndarray:
    """Another value in every voxel of the muscles, so that none can stand for another."""
    muscles = regions().muscles
    assert muscles is not None
    counted = np.arange(muscles.size, dtype=np.float32).reshape(muscles.shape) / 100
    return np.where(muscles > 0, counted, np.float32(np.nan))


def test_the_map_is_cut_to_the_muscles_and_says_what_is_not_measured() -> None:
    dataset = everything()["map"]

    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert values(dataset).shape == (6, 12, 40)  # where the boxes of `regions` are
    assert dataset.FloatPixelPaddingValue == NOT_MEASURED_PCT
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "%"


@pytest.mark.parametrize("kind", ["classic", "multi-frame in disorder"])
def test_every_frame_holds_the_values_of_the_slice_where_it_lies_and_names_it(kind: str) -> None:
    places = (3, 0, 7, 1, 6, 2, 5, 4)
    post = classic_series("post") if kind == "classic" else enhanced_series("post", places)
    dataset = map_of((classic_series("pre"), post, classic_series("mrv")), enhancement=uneven())
    assert dataset is not None

    seen = set()
    for frame, percent in zip(dataset.PerFrameFunctionalGroupsSequence, values(dataset), strict=True):
        place = [float(one) for one in frame.PlanePositionSequence[0].ImagePositionPatient]
        index = round(place[2] / THICKNESS_MM)
        seen.add(index)
        x, y, z = position_mm(index)
        assert place == pytest.approx([x + 12 * SPACING_MM, y + 40 * SPACING_MM, z])
        truth = uneven()[index, 40:52, 12:52]
        assert np.array_equal(np.where(np.isnan(truth), NOT_MEASURED_PCT, truth), percent)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        if kind == "classic":
            header = next(one for one in post.headers if one.SOPInstanceUID == source.ReferencedSOPInstanceUID)
            assert list(header.ImagePositionPatient) == [x, y, z]
        else:
            assert source.ReferencedFrameNumber == places.index(index) + 1
    assert seen == set(range(1, 7))


def test_highdicom_reads_the_map() -> None:
    dataset = hd.pm.ParametricMap.from_dataset(everything()["map"])

    volume = dataset.get_volume()

    assert volume.spatial_shape == (6, 12, 40)


def test_the_report_names_the_map() -> None:
    made = everything()

    *_, derived = items(made["sr"], "Image Library", "Image Library Group")

    assert made["map"].SOPInstanceUID in {
        one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in derived.ContentSequence
    }


def test_where_nothing_was_measured_there_is_no_map() -> None:
    assert map_of(enhancement=None) is None
    assert map_of(enhancement=np.full((8, 64, 64), np.nan, np.float32)) is None


def test_a_map_of_another_shape_than_its_series_is_refused() -> None:
    with pytest.raises(ReportError, match="shape"):
        map_of(enhancement=np.zeros((8, 64, 63), np.float32))


def test_values_beyond_all_measure_are_cut_and_never_taken_for_not_measured() -> None:
    wild = np.full((8, 64, 64), np.nan, np.float32)
    wild[2, 40, 40:44] = (-5000.0, 1e9, 12.5, -3.0)

    dataset = map_of(enhancement=wild)

    assert dataset is not None
    assert values(dataset).ravel().tolist() == [NOT_MEASURED_PCT + 1, 10_000.0, 12.5, -3.0]
