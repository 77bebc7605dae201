"""Verification: a report that a person verified is the one that passed the gate, and says who, when and for whom."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from node.report.gate.reading import text

# All that may differ from the report as it was made (PS3.3 section C.17.2); the rest is the same to the last digit.
_OWN = frozenset(
    (
        "SOPInstanceUID", "InstanceNumber", "InstanceCreationDate", "InstanceCreationTime", "VerificationFlag",
        "PreliminaryFlag", "VerifyingObserverSequence", "PredecessorDocumentsSequence",
    )
)  # fmt: skip
_TYPE_1 = ("VerifyingObserverName", "VerifyingOrganization", "VerificationDateTime")


def verified(report: Dataset, before: Dataset) -> Iterator[str]:
    """Yield what is wrong with a verified report, against the unverified one."""
    if (text(report, "VerificationFlag"), text(report, "PreliminaryFlag")) != ("VERIFIED", "FINAL"):
        yield "GATE-STRUCTURE what a person verified must say so, and be final"
    observers = report.get("VerifyingObserverSequence", ())
    if not observers or not all(text(one, keyword) for one in observers for keyword in _TYPE_1):
        yield "GATE-STRUCTURE it does not say who verified it, when and for whom"
    if text(report, "SOPInstanceUID") == text(before, "SOPInstanceUID"):
        yield "GATE-IDENTITY a verified report must be another instance than the unverified one"
    for tag in sorted({*report.keys(), *before.keys()}):
        one, other = report.get(tag), before.get(tag)
        if one != other and (one or other).keyword not in _OWN:
            yield f"GATE-STRUCTURE {(one or other).keyword} is not what it was before it was verified"
