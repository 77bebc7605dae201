"""What others say of studies: how many instances they have, and whether a modality still works at them.

In plain SQL on the standard library's driver, because the receiving process writes it too (see `arrivals`). The studies
themselves may come later, or never.
"""

from collections.abc import Set
from enum import StrEnum
from sqlite3 import Connection

from node.dicom.performed import PerformedStep, StepState
from node.eventlog import alias
from node.ledger.database import Database
from node.records import MPPS

_REMEMBERED_S = 30 * 86400.0  # chosen: what is said of a study whose images never come here
_EXPECT = """
    INSERT INTO expectation (study, series, source, instances, noted_s)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (study, series, source) DO UPDATE SET instances = excluded.instances, noted_s = excluded.noted_s
"""
_FORGET_NAMES = "DELETE FROM expected_instance WHERE (study, series, source) = (?, ?, ?)"
_NAME = "INSERT INTO expected_instance (study, series, source, sop_instance) VALUES (?, ?, ?, ?)"
_BEGIN_STEP = """
    INSERT INTO procedure_step (sop_instance, study, state, calling_ae, updated_s)
    VALUES (?, ?, ?, ?, ?)
"""
_SET_STEP = "UPDATE procedure_step SET state = ?, updated_s = ? WHERE sop_instance = ?"
_FORGET = (
    "DELETE FROM procedure_step WHERE updated_s < ? AND study NOT IN (SELECT uid FROM study)",
    """
    DELETE FROM expected_instance WHERE study IN (SELECT study FROM expectation WHERE noted_s < ?)
        AND study NOT IN (SELECT uid FROM study)
    """,
    "DELETE FROM expectation WHERE noted_s < ? AND study NOT IN (SELECT uid FROM study)",
)
_NAMED = "(SELECT uid FROM study WHERE :study IN (uid, alias))"


class Noted(StrEnum):
    """What became of a request about a performed procedure step."""

    YES = "yes"
    EXISTS = "exists"  # it was created before
    UNKNOWN = "unknown"  # it never was
    ENDED = "ended"  # it has, and may no longer be changed


class Expectations:
    """Rows about what is expected."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def expect(self, study: str, series: str, source: str, instances: int, *, now: float) -> None:
        """Note how many instances a series has by the word of `source`, in place of what it said before.

        With an empty `series` the whole study.
        """
        with self._database.begin() as connection:
            connection.execute(_EXPECT, (study, series, source, instances, now))

    def begin_step(self, sop_instance: str, step: PerformedStep, *, calling_ae: str, now: float) -> Noted:
        """Note that a modality works at the studies of a step."""
        with self._database.begin() as connection:
            if connection.execute("SELECT 1 FROM procedure_step WHERE sop_instance = ?", (sop_instance,)).fetchall():
                return Noted.EXISTS
            for forget in _FORGET:
                connection.execute(forget, (now - _REMEMBERED_S,))
            rows = [(sop_instance, study, StepState.IN_PROGRESS, calling_ae, now) for study in sorted(step.studies)]
            connection.executemany(_BEGIN_STEP, rows)
            _expect_made(connection, step, step.studies, now)
        return Noted.YES

    def change_step(self, sop_instance: str, step: PerformedStep, *, now: float) -> Noted:
        """Note what a modality says of a step that it began: how it goes on, and what it made."""
        with self._database.begin() as connection:
            rows = connection.execute(
                "SELECT study, state FROM procedure_step WHERE sop_instance = ?", (sop_instance,)
            ).fetchall()
            if not rows:
                return Noted.UNKNOWN
            if rows[0][1] != StepState.IN_PROGRESS:
                return Noted.ENDED
            state = step.state or StepState.IN_PROGRESS
            connection.execute(_SET_STEP, (state, now, sop_instance))
            _expect_made(connection, step, {study for study, _ in rows}, now)
        return Noted.YES

    # ---------------------------------------------------------------- what people look at

    def expected(self, study_name: str) -> list[tuple[str, str, int]]:
        """Return what is expected of a study, by its alias or UID: alias of the series or "", source, instances."""
        rows = self._database.connection.execute(
            f"SELECT series, source, instances FROM expectation WHERE study = {_NAMED} ORDER BY series, source",
            {"study": study_name},
        ).fetchall()
        return [(alias(series) if series else "", source, instances) for series, source, instances in rows]

    def steps(self, study_name: str) -> list[tuple[str, str]]:
        """Return state and calling AE title of the procedure steps of a study, by its alias or UID."""
        rows = self._database.connection.execute(
            f"SELECT state, calling_ae FROM procedure_step WHERE study = {_NAMED} ORDER BY updated_s",
            {"study": study_name},
        ).fetchall()
        return [(state, calling_ae) for state, calling_ae in rows]


def _expect_made(connection: Connection, step: PerformedStep, studies: Set[str], now: float) -> None:
    """Expect what a step made, if it has but one study: it does not say which series is of which."""
    if len(studies) == 1 and step.made:
        (study,) = studies
        made = {series: instances for series, instances in step.made.items() if instances}
        connection.executemany(_EXPECT, [(study, series, MPPS, len(made[series]), now) for series in made])
        connection.executemany(_FORGET_NAMES, [(study, series, MPPS) for series in made])
        named = [(study, series, MPPS, uid) for series, instances in made.items() for uid in sorted(instances)]
        connection.executemany(_NAME, named)
