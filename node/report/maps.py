"""The parametric map: percent enhancement of every voxel of the muscles."""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from node.errors import ReportError
from node.findings import Measurement
from node.report import codes
from node.report.grids import grid_of, name_dimensions, refer_to_sources
from node.report.provenance import MAP, Provenance
from node.report.sources import Study

# Outside of the muscles. NaN would be as true, but viewers choke on it; chosen, below all that is measured.
NOT_MEASURED_PCT = -1024.0
_HIGHEST_PCT = 10_000.0
_WINDOW_PCT = (50.0, 200.0)  # centre and width; chosen


def enhancement_map(measurement: Measurement, study: Study, provenance: Provenance) -> Dataset | None:
    """Return the map on the grid of the reference series, cut to the muscles; None if nothing was measured.

    Raises
    ------
    ReportError
        If the map lies on a series that the evidence has not, or has not in that shape.
    """
    values = measurement.regions.enhancement
    if values is None or not np.isfinite(values).any():
        return None
    series = study.series_of(measurement.regions.reference)
    if not series.headers[0].get("FrameOfReferenceUID"):
        return None  # as for a SEG
    wanted = (len(series.slices), int(series.headers[0].Rows), int(series.headers[0].Columns))
    if values.shape != wanted:
        raise ReportError(f"map: the values have shape {values.shape}, its series {wanted}")
    used = [np.nonzero(np.isfinite(values).any(axis=axes))[0] for axes in ((1, 2), (0, 2), (0, 1))]
    slices, rows, columns = (slice(int(one[0]), int(one[-1]) + 1) for one in used)
    box = (slices, rows, columns)
    inside = values[box].clip(NOT_MEASURED_PCT + 1, _HIGHEST_PCT)
    pixels = np.where(np.isfinite(inside), inside, np.float32(NOT_MEASURED_PCT)).astype(np.float32)
    dataset = hd.pm.ParametricMap(
        source_images=[grid_of(series, study, box)],
        pixel_array=pixels,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="PCTENH",
                lut_explanation="Percent, (post - pre) / local muscle; -1024: not measured",
                unit=codes.PERCENT,
                value_range=(NOT_MEASURED_PCT, _HIGHEST_PCT),
                slope=1.0,
                intercept=0.0,
                quantity_definition=codes.PERCENT_ENHANCEMENT,
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=_WINDOW_PCT[0], window_width=_WINDOW_PCT[1])],
        content_label="PVM_PCTENH",
        content_description="Paravertebral muscle analysis: percent enhancement",
        content_qualification="RESEARCH",
        derived_pixel_contrast="QUANTITY",
        image_flavor="VOLUME",
        **provenance.attributes(MAP),
    )
    dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = NOT_MEASURED_PCT
    anatomy = Dataset()  # highdicom leaves it out; dcmqi's reader breaks without
    anatomy.FrameLaterality = "B"
    anatomy.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(codes.DEEP_BACK_MUSCLE)]
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    refer_to_sources(dataset, series, first=slices.start)
    name_dimensions(dataset, provenance.uid(MAP.name, "dimensions"))
    dataset.BodyPartExamined = study.header.get("BodyPartExamined") or "SPINE"
    return provenance.finished(dataset)
