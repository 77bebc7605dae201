"""What several statements ask of a row."""

import sqlalchemy as sa

from node.ledger.schema import delivery, instance, job, result, retrieval, ruling, study
from node.records import RetrievalReason

COUNTS = sa.not_(instance.c.contradicts)  # only the first of several contents is ever measured
_ASKED_OF_IT = sa.select(retrieval.c.series).where(retrieval.c.study == study.c.uid).correlate(study)
# What was pulled as a prior is of an older study, and is not measured (`retrievals`). One of which reports of ours
# alone were asked for is that only as long as nothing else of it is here: its images may be sent to be measured.
IS_PRIOR = sa.or_(
    sa.exists().where(retrieval.c.study == study.c.uid, retrieval.c.reason == RetrievalReason.PRIOR),
    sa.and_(
        sa.exists().where(retrieval.c.study == study.c.uid, retrieval.c.reason == RetrievalReason.RESULT),
        sa.not_(
            sa.exists().where(instance.c.study == study.c.uid, instance.c.series.not_in(_ASKED_OF_IT)).correlate(study)
        ),
    ),
)
# A result of ours that came back is no part of what is measured (`arrivals`).
IS_RESULT = sa.or_(
    sa.exists().where(result.c.sop_instance == instance.c.sop_instance),
    sa.exists().where(delivery.c.sent_instance == instance.c.sop_instance),
)
RULING = (  # what holds for the results of a job
    sa.select(ruling.c.ruling)
    .where(ruling.c.job == job.c.id)
    .order_by(ruling.c.id.desc())
    .limit(1)
    .correlate(job)
    .scalar_subquery()
)
