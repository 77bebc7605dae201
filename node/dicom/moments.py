"""Moments: when a study began, as its headers say it, and whether that was before another for certain."""

import re

from pydicom.dataset import Dataset

_DATE = re.compile(r"(19|20)\d{6}")
_TIME = re.compile(r"\d{4,6}")


def study_began(header: Dataset) -> str:
    """Return when the study of a header began, YYYYMMDD and as much of HHMMSS as it says; "" if it gives no day."""
    day, clock = (str(header.get(keyword) or "") for keyword in ("StudyDate", "StudyTime"))
    day = day.replace(".", "")  # 2026.01.02: as before 1993
    if not _DATE.fullmatch(day):
        return ""
    found = _TIME.match(clock.replace(":", ""))
    return day + (found[0] if found else "")


def is_before(one: str, other: str) -> bool:
    """Return whether a moment, as `study_began` gives it, was before another for certain."""
    known = min(len(one), len(other))
    return one[:known] < other[:known]
