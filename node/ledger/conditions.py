"""What several statements ask of a row."""

import sqlalchemy as sa

from node.ledger import retrievals
from node.ledger.schema import delivery, instance, job, result, ruling

COUNTS = sa.not_(instance.c.contradicts)  # only the first of several contents is ever measured
IS_PRIOR: sa.ColumnElement[bool] = sa.literal_column(retrievals.IS_PRIOR, sa.Boolean)
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
