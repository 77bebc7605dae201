from pydicom.sr.codedict import codes as dictionary

from node.report import codes

# Codes of PS3.16 that pydicom's dictionary lacks or spells otherwise; the muscle is from TotalSegmentator's SNOMED
# mapping. A new one here needs a source in codes.py.
ELSEWHERE = {
    ("244849004", "SCT", "Deep muscle of back"),
    ("260753009", "SCT", "Source"),
    ("C0034375", "UMLS", "Qualitative Evaluations"),
    ("en-US", "RFC5646", "English (United States)"),
    ("65985001", "SCT", "S1 vertebra"),
    ("%.s", "UCUM", "percent second"),
    ("%/s", "UCUM", "percent per second"),
    ("{-1:1}", "UCUM", "{-1:1}"),
    ("{pixels}", "UCUM", "Pixels"),
}


def test_every_standard_code_is_in_the_dictionary_with_that_meaning():
    known = {
        (code.value, code.scheme_designator, code.meaning)
        for scheme in dictionary.schemes()
        for code in getattr(dictionary, scheme).concepts.values()
    }

    assert {code for code in codes.WRITTEN if code[1] != codes.PRIVATE_SCHEME} - known == ELSEWHERE


def test_private_codes_fit_their_attributes():
    for value, meaning in codes.PRIVATE_MEANINGS.items():
        assert len(value) <= 16
        assert len(meaning) <= 64


def test_no_private_meaning_stands_for_two_values():
    assert len(set(codes.PRIVATE_MEANINGS.values())) == len(codes.PRIVATE_MEANINGS)
