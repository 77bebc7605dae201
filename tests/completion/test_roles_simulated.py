"""The simulator's studies, whole, in the styles of four makers: their roles, and the pair where contrast is named."""

from collections.abc import Mapping
from typing import Any

import pytest

from node.completion import decide_roles, read_facts, read_table, select
from node.records import Role
from node.simulator import make_recipe, simulate
from node.simulator.multiframe import to_enhanced

TABLE = read_table()
SMALL: Mapping[str, Any] = {
    "slices": 3, "pixel_mm": 6.0, "lesions": [], "snr": 0, "series": ["localizer", "t2", "mrv", "pre", "post"],
}  # fmt: skip
EXPECTED = {
    "localizer": "localizer",
    "t2": "sagittal T2",
    "mrv": "MRV time of flight",
    "pre": "axial T1 pre",
    "post": "axial T1 post",
}


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge", "canon"])
@pytest.mark.parametrize(("sequence", "enhanced"), [("se", False), ("spgr", False), ("se", True)])
def test_a_simulated_study_has_the_roles_that_it_was_made_for(vendor: str, sequence: str, enhanced: bool) -> None:
    study = simulate(make_recipe({**SMALL, "vendor": vendor, "sequence": sequence}))
    found, facts = {}, []
    for series in study.series:
        classic = series.kind == "localizer" or not enhanced
        stacks = read_facts(list(series.datasets) if classic else [to_enhanced(series.datasets)])
        facts += stacks
        found[series.kind] = {one.key for one in stacks}

    roles = decide_roles(facts, TABLE)
    selection = select(facts, roles, post_alone=False)

    labels = {kind: {roles[key].label for key in keys} for kind, keys in found.items()}
    assert labels == {kind: {label} for kind, label in EXPECTED.items()}
    assert selection.reason == "contrast pair"
    assert selection.stacks is not None
    assert {Role.PRE, Role.POST, Role.MRV} <= selection.stacks.keys()
