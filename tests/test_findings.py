"""findings.json: its schema is documented, and what is written fits it."""

import json
from dataclasses import replace

from pydantic import TypeAdapter

from node.findings import (
    SCHEMA_VERSION,
    Algorithm,
    EarlierLesion,
    Findings,
    Gate,
    LesionFindings,
    MuscleFindings,
    Note,
    Outcome,
    Recognition,
    Side,
)
from tests.conftest import ROOT

SCHEMA = ROOT / "docs" / "findings.schema.json"
FINDINGS = Findings(
    outcome=Outcome.FINDINGS,
    summary="One focal enhancing candidate.",
    inputs=("pre", "post"),
    grade=2,
    muscles=(MuscleFindings(Side.LEFT, 1000.0, 100.0, 140.0, 40.0, 5.0, 1.0, 0.5, None),),
    lesions=(
        LesionFindings(
            1, Side.LEFT, (1.0, 2.0, 3.0), 900.0, 12.0, 11.0, 100.0, 200.0, 100.0, 120.0, 2.5, 9.0, 30.0, 40.0,
            None, None, None,
        ),
    ),
    gates=(Gate("IN-3", 5.0, ">= 5", True),),
    caveats=(Note("SEG-LOW", "low confidence"),),
    refusals=(),
    algorithm=Algorithm("PVM", "0.1.0", {"ring_mm": "5.0"}, "0" * 64),
)  # fmt: skip


def test_the_documented_schema_is_that_of_the_code() -> None:
    """To renew it: python -m tests.test_findings > docs/findings.schema.json"""
    assert json.loads(SCHEMA.read_text()) == schema()


def test_every_key_of_the_schema_is_explained() -> None:
    explained = (ROOT / "docs" / "findings.md").read_text()

    assert [key for key in schema()["properties"] if f"`{key}`" not in explained] == []


def test_findings_survive_the_way_through_json() -> None:
    written = json.loads(json.dumps(FINDINGS.to_json()))

    assert written.pop("schema_version") == SCHEMA_VERSION
    assert Findings.from_json(written) == FINDINGS


def test_recognitions_that_were_written_before_they_said_by_what_say_it_by_their_confidence() -> None:
    before = EarlierLesion("PVM lesion 2", "2.25.7", Side.LEFT, *[None] * 9)
    recognized = [
        replace(FINDINGS.lesions[0], prior=Recognition(before, "20250102", "near", sure, by))
        for sure, by in (("high", "place"), ("medium", "level"))
    ]
    findings = replace(FINDINGS, lesions=tuple(recognized))
    written = json.loads(json.dumps(findings.to_json()))
    for one in written["lesions"]:
        del one["prior"]["by"]

    assert Findings.from_json(written) == findings


def test_a_refusal_ends_with_each_of_its_codes_once() -> None:
    notes = (Note("ROLE-CONTRAST", "none"), Note("CMP-SEQ", "TR"), Note("CMP-SEQ", "TE"))
    refused = replace(FINDINGS, outcome=Outcome.REFUSED, refusals=notes)

    assert (FINDINGS.ending, refused.ending) == ("findings", "refused: ROLE-CONTRAST, CMP-SEQ")


def schema() -> dict:
    made = TypeAdapter(Findings).json_schema()
    made["properties"] = {"schema_version": {"const": SCHEMA_VERSION}} | made["properties"]
    words = ("series_instance_uid", "role", "rule", "rules", "confidence", "evidence")
    role = {name: {"type": "string"} for name in words} | {"stack": {"type": "integer"}}
    role["phases"] = {"type": "array", "items": {"type": "string"}}
    made["properties"]["series"] = {"type": "object", "additionalProperties": {"type": "object", "properties": role}}
    made["properties"]["objects"] = {"type": "array", "items": {"type": "string"}}
    made["required"] = ["schema_version", *made["required"], "series", "objects"]
    made["title"] = "findings.json of paraspinal-node"
    return made


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
