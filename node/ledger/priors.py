"""Earlier reports of a job's patient: those that this node made, and those that came back to it from an archive.

Also images that they speak of, which may have been dropped, and pulled again since.

In plain SQL. The same patient is who has the same Patient ID and the same issuer of it, byte for byte, or has none on
both sides; whoever reads a report looks at name and day of birth as well. A study that is held counts for nobody.
"""

import json
from collections.abc import Collection

from node.ledger.database import Database
from node.ledger.rulings import LAST_RULING
from node.records import Place, ResultRole, Ruling, StudyState

_MOST = 20  # reports of each kind; chosen, a patient has few
_SR_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (34, 33, 22))  # as reports of ours go out
_OTHER_STUDIES = f"""
    FROM job AS own_job
    JOIN study AS own ON own.uid = own_job.study
    JOIN study ON study.patient_id = own.patient_id AND study.issuer = own.issuer
        AND study.uid != own.uid AND study.state != '{StudyState.HELD}'
"""
_OF_JOB = "own_job.id = ? AND trim(own.patient_id, ' ' || char(0)) != ''"
# Of each study the last one that holds: approved, or never reviewed.
_MADE = f"""
    SELECT path FROM (
        SELECT result.path, study.first_seen_s, row_number() OVER (
            PARTITION BY study.uid ORDER BY job.generation DESC, result.rowid DESC
        ) AS place
        {_OTHER_STUDIES}
        JOIN job ON job.study = study.uid
        JOIN result ON result.job = job.id AND result.role = '{ResultRole.SR}'
        WHERE {_OF_JOB} AND coalesce({LAST_RULING}, '{Ruling.APPROVED}') = '{Ruling.APPROVED}'
    )
    WHERE place = 1
    ORDER BY first_seen_s DESC, path
    LIMIT {_MOST}
"""
# Of studies that we have reported on ourselves our own rows count: an archive goes on showing what was recalled.
_RECEIVED = f"""
    SELECT instance.segment, instance.generation, instance.place
    {_OTHER_STUDIES}
    JOIN instance ON instance.study = study.uid AND NOT instance.contradicts
        AND instance.patient_id = own.patient_id AND instance.issuer = own.issuer
        AND instance.sop_class IN ({", ".join(f"'{one}'" for one in _SR_CLASSES)})
    WHERE {_OF_JOB} AND NOT EXISTS (
        SELECT 1 FROM job JOIN result ON result.job = job.id WHERE job.study = study.uid
    )
    ORDER BY instance.received_s DESC, instance.id DESC
    LIMIT {_MOST}
"""
_IMAGES = f"""
    SELECT instance.sop_instance, instance.segment, instance.generation, instance.place
    {_OTHER_STUDIES}
    JOIN instance ON instance.study = study.uid AND NOT instance.contradicts
        AND instance.patient_id = own.patient_id AND instance.issuer = own.issuer
    JOIN json_each(?) AS named ON named.value = instance.sop_instance
    WHERE {_OF_JOB} AND study.uid = ?
    ORDER BY instance.sop_instance, instance.id
"""


class Priors:
    """Rows about earlier reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def made(self, job: str) -> list[str]:
        """Return the paths in the folder of results of the reports of other studies of a job's patient that hold."""
        return [path for (path,) in self._database.connection.execute(_MADE, (job,)).fetchall()]

    def received(self, job: str) -> list[Place]:
        """Return where the SRs of such studies are that others sent, whoever made them."""
        return [Place(*row) for row in self._database.connection.execute(_RECEIVED, (job,)).fetchall()]

    def images(self, job: str, study: str, sop_instances: Collection[str]) -> list[Place]:
        """Return where instances of such a study are; none unless all of them are held."""
        wanted = json.dumps([*set(sop_instances)]), job, study
        rows = self._database.connection.execute(_IMAGES, wanted).fetchall()
        found = {sop_instance: Place(*place) for sop_instance, *place in rows}
        return [*found.values()] if len(found) == len(set(sop_instances)) else []
