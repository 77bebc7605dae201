"""The conformance statement and the code say the same."""

import re

import pytest

from node.association import commitment, intake, mpps
from node.association.conformance import STORAGE_CLASSES, TRANSFER_SYNTAXES
from node.dicom.references import FailureReason
from tests.conftest import ROOT

CODES = (intake.Status, commitment.Status, mpps.Status, FailureReason)
STATEMENT = (ROOT / "docs" / "conformance.md").read_text()


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.__module__)
def test_every_code_that_we_answer_is_in_the_statement(codes: type) -> None:
    assert [f"{code:04X}" for code in codes if f"0x{code:04X}" not in STATEMENT] == []


def test_every_code_in_the_statement_is_one_that_we_answer() -> None:
    ours = {int(code) for codes in CODES for code in codes}
    ours |= {mpps.MAY_NO_LONGER_BE_UPDATED}

    stated = {int(code, 16) for code in re.findall(r"0x([0-9A-F]{4})", STATEMENT)}

    assert stated - ours == {0x0131}  # which it says we do not use


def test_no_syntax_is_offered_that_may_inflate_without_limit() -> None:
    assert not any("Deflated" in syntax.name for syntax in TRANSFER_SYNTAXES)


def test_classes_and_syntaxes_are_named_once() -> None:
    assert len(set(STORAGE_CLASSES)) == len(STORAGE_CLASSES)
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)
