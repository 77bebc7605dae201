"""What is left of the golden table when headers lose an attribute: fewer roles, but still no false pair.

Series that lie about contrast, or that they are derived, are left out of the count: of these only what is dropped told.
"""

from copy import deepcopy
from functools import cache

import pytest

from node.completion import StackFacts, decide_roles, read_facts, read_table
from node.completion.pairs import find_pairs
from node.errors import HeaderError, VolumeError
from tests.completion.golden import STUDIES, Series, Study, headers
from tests.completion.test_roles_golden import is_true_pair

TABLE = read_table()
DROPPED = (
    "SequenceVariant",
    "ScanOptions",
    "ScanningSequence",
    "SequenceName",
    "MRAcquisitionType",
    "AngioFlag",
    "FlipAngle",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "EchoTrainLength",
    "ContrastBolusAgent",
    "AcquisitionTime",
    "SeriesDescription",
    "Manufacturer",
    "ReceiveCoilName",
    "ImageType",
)


@cache
def without(study: Study, index: int, keyword: str) -> tuple[StackFacts, ...]:
    found = []
    for header in headers(study, index):
        copy = deepcopy(header)
        for name in (keyword, "ProtocolName") if keyword == "SeriesDescription" else (keyword,):
            copy.pop(name, None)
        found.append(copy)
    try:
        return read_facts(found)
    except (HeaderError, VolumeError):
        return ()


@pytest.mark.slow
@pytest.mark.parametrize("keyword", DROPPED)
def test_without_an_attribute_there_is_still_no_false_pair(keyword: str) -> None:
    right, everything, pairs, wrong = 0, 0, 0, []
    for study in STUDIES:
        by_series: list[tuple[Series, StackFacts]] = [
            (series, one)
            for index, series in enumerate(study.series)
            if not series.enhanced
            for one in without(study, index, keyword)
        ]
        roles = decide_roles([one for _series, one in by_series], TABLE)
        of_key = {one.key: series for series, one in by_series}
        everything += len(by_series)
        right += sum(roles[one.key].label == series.label for series, one in by_series)
        for pair in find_pairs([one for _series, one in by_series], roles):
            if pair.comparable:
                pairs += 1
                before, after = of_key[pair.pre.key], of_key[pair.post.key]
                if not (is_true_pair(before, after) or before.lies or after.lies):
                    wrong.append((study.name, before.description, after.description))

    print(f"without {keyword}: {right} of {everything} roles right, {pairs} pairs, {len(wrong)} false")
    assert wrong == []
    assert right >= 0.8 * everything
