"""Asking: what an archive has of the studies that came to rest, and what of it shall come.

Questions change nothing and are forgotten at a restart: they are asked again. What shall come is a row.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from node import eventlog
from node.dicom.identifiers import SeriesUID, StudyUID
from node.errors import RetrievalError
from node.eventlog import Event, alias
from node.ledger.expectations import Expectations
from node.ledger.retrievals import Retrievals
from node.records import RestingStudy, RetrievalReason, Wanted
from node.retrieval import rules
from node.retrieval.answers import SeriesAnswer, StudyAnswer
from node.retrieval.archive import Archive
from node.settings import ArchiveSettings, RetrievalSettings

_WILDCARDS = frozenset("*?\\")  # PS3.4 section C.2.2.2.4, and PS3.5 section 6.2: they would match other patients
_MOST_COUNTED_BY_HAND = 20  # series of a study whose instances are listed because the archive gives no number; chosen


@dataclass(slots=True)
class _Asked:
    """When a study was last asked about, and when it is again; seconds since 1970."""

    last_seen_s: float
    tried_s: float
    wait_s: float
    next_s: float


class Asker:
    """Asks one archive about the studies at rest: about each as soon as it rests, then after twice the wait before."""

    def __init__(
        self,
        archive: Archive,
        settings: ArchiveSettings,
        common: RetrievalSettings,
        retrievals: Retrievals,
        expectations: Expectations,
    ) -> None:
        self._archive, self._settings, self._common = archive, settings, common
        self._retrievals, self._expectations = retrievals, expectations
        self._asked: dict[StudyUID, _Asked] = {}
        self._silent_until_s, self._silent_wait_s = 0.0, common.first_wait_s

    def run_once(self, *, now: float) -> None:
        """Ask what is to be asked at `now` (seconds since 1970); nothing while the archive is given a rest."""
        common = self._common
        if now < self._silent_until_s or not (self._settings.pull or self._settings.counts != "off"):
            return
        studies = self._retrievals.resting(
            seen_after_s=now - 3600 * common.look_back_h, seen_before_s=now - common.ask_after_s
        )
        self._asked = {one.study: self._of(one, now) for one in studies}
        due = [one for one in studies if self._asked[one.study].next_s <= now]
        # One of which the question fails each time must not keep the others from being asked about.
        for study in sorted(due, key=lambda one: self._asked[one.study].tried_s):
            self._asked[study.study].tried_s = now
            try:
                self._look_at(study, now)
            except RetrievalError as error:
                self._silent_until_s = now + self._silent_wait_s
                eventlog.record(
                    Event.ARCHIVE_SILENT, logging.WARNING, archive=self._archive.name, reason=f"'{error}'",
                    wait_s=f"{self._silent_wait_s:g}",
                )  # fmt: skip
                self._silent_wait_s = min(2 * self._silent_wait_s, common.longest_wait_s)
                return
            self._silent_wait_s = common.first_wait_s
            self._postpone(study, now)

    def _of(self, study: RestingStudy, now: float) -> _Asked:
        """Return when a study is asked about: now, unless it was, and nothing has come since."""
        asked = self._asked.get(study.study)
        if asked is not None and asked.last_seen_s == study.last_seen_s:
            return asked
        return _Asked(study.last_seen_s, asked.tried_s if asked else 0.0, self._common.first_wait_s, now)

    def _postpone(self, study: RestingStudy, now: float) -> None:
        asked = self._asked[study.study]
        asked.next_s = now + asked.wait_s
        asked.wait_s *= 2
        pulled_s = study.last_seen_s + self._common.pull_after_s
        if self._settings.pull and now < pulled_s:  # what is missing may come until then, and shall not wait after it
            asked.next_s = min(asked.next_s, pulled_s)

    def _look_at(self, study: RestingStudy, now: float) -> None:
        known, series = self._archive.study(study.study)
        if known is not None and rules.other_patient((study.patient_id, study.issuer), known):
            eventlog.record(
                Event.ARCHIVE_DISAGREES, logging.WARNING, study=alias(study.study), archive=self._archive.name
            )
            return
        if self._settings.counts != "off":
            for uid, instances in self._counts(study, series):
                self._expectations.expect(study.study, uid, f"C-FIND {self._archive.name}", instances, now=now)
        wanted = list(self._older(study, known, series, now))
        if now - study.last_seen_s >= self._common.pull_after_s:
            wanted = [*self._missing(study, series), *wanted]
        entered = self._retrievals.ask(wanted, most_series=self._common.most_series, now=now)
        if entered:
            eventlog.record(Event.RETRIEVAL_ASKED, study=alias(study.study), archive=self._archive.name, series=entered)

    def _counts(self, study: RestingStudy, archived: list[SeriesAnswer]) -> Iterator[tuple[SeriesUID, int]]:
        """Yield how many instances the MR series have; those are listed of which the archive gives no number."""
        listed = 0
        for one in archived:
            if one.modality != "MR" or (self._settings.counts == "series" and one.series not in study.held):
                continue
            instances = one.instances
            if instances is None and listed < _MOST_COUNTED_BY_HAND:
                listed += 1
                instances = len(self._archive.instances(study.study, one.series)) or None
            if instances is not None:
                yield one.series, instances

    def _missing(self, study: RestingStudy, archived: list[SeriesAnswer]) -> Iterator[Wanted]:
        pull = self._settings.pull
        if "missing" in pull:
            yield from _wanted(study, archived, self._archive.name, RetrievalReason.MISSING, self._common)
        elif "localizers" in pull:
            yield from _wanted(study, archived, self._archive.name, RetrievalReason.LOCALIZER, self._common)

    def _older(
        self, study: RestingStudy, known: StudyAnswer | None, archived: list[SeriesAnswer], now: float
    ) -> Iterator[Wanted]:
        """Yield what is wanted of the patient's older studies.

        Reports of ours at once, for a job that is to compare with them does not wait; images when the study has come.
        """
        images = "priors" in self._settings.pull and now - study.last_seen_s >= self._common.pull_after_s
        reports = "results" in self._settings.pull
        patient_id = study.patient_id.strip(" \0")
        if not (images or reports) or not _can_be_asked(patient_id):
            return
        described = [known.description] if known else []
        described += [text for one in archived for text in (one.description, one.body_part)]
        regions = rules.spine_regions(described)
        if regions is None and any(described):
            return  # it is about something else
        older = rules.priors(
            self._archive.studies_of(patient_id),
            study=study.study,
            patient=(study.patient_id, study.issuer),
            known=known,
            regions=regions,
            today=datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"),
            days=self._settings.prior_days,
            most=self._settings.most_priors,
        )
        for prior in older:
            _again, its_series = self._archive.study(prior.study)
            wanted = [(one, RetrievalReason.RESULT) for one in its_series if reports and rules.is_our_report(one)]
            if images:
                fitting = [one for one in its_series if rules.of_regions(one, prior, regions)]
                most = self._common.most_instances
                missing = rules.missing_series(fitting, {}, planes_only=False, most_instances=most)
                wanted += [(one, RetrievalReason.PRIOR) for one in missing]
            for one, reason in wanted:
                yield Wanted(prior.study, one.series, self._archive.name, reason, study.study, one.instances)


def ask_for(
    study: RestingStudy, archive: Archive, retrievals: Retrievals, common: RetrievalSettings, *, now: float
) -> int:
    """Enter, as an operator wishes, what an archive has of a study and we lack; return how many series that are.

    Raises
    ------
    RetrievalError
        If the archive does not answer, or has the study with another patient.
    """
    known, series = archive.study(study.study)
    if known is not None and rules.other_patient((study.patient_id, study.issuer), known):
        raise RetrievalError("the archive has the study under another Patient ID")
    wanted = _wanted(study, series, archive.name, RetrievalReason.OPERATOR, common)
    return retrievals.ask(wanted, most_series=common.most_series, now=now)


def _wanted(
    study: RestingStudy, archived: list[SeriesAnswer], archive: str, reason: RetrievalReason, common: RetrievalSettings
) -> Iterator[Wanted]:
    planes_only = reason is RetrievalReason.LOCALIZER
    lacking = rules.missing_series(archived, study.held, planes_only=planes_only, most_instances=common.most_instances)
    for one in lacking:
        yield Wanted(study.study, one.series, archive, reason, study.study, one.instances)


def _can_be_asked(patient_id: str) -> bool:
    """Return whether a Patient ID can be a key: without one every patient would match, with a wildcard others."""
    return bool(patient_id) and patient_id.isascii() and patient_id.isprintable() and not _WILDCARDS & set(patient_id)
