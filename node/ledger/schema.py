"""The tables. States are CHECKs, so that no code can write one that does not exist."""

from enum import StrEnum

import sqlalchemy as sa

from node.records import CommitmentState, DeliveryState, Role, StudyState

SCHEMA_VERSION = 2

metadata = sa.MetaData()


def _one_of(column: str, words: type[StrEnum]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{word.value}'" for word in words)
    return sa.CheckConstraint(f"{column} IN ({listed})")


ledger_version = sa.Table(
    "ledger_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    comment="The version of these tables.",
)
study = sa.Table(
    "study",
    metadata,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("changes", sa.Integer, nullable=False),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("first_seen_s", sa.Float, nullable=False),
    sa.Column("last_seen_s", sa.Float, nullable=False),
    _one_of("state", StudyState),
    comment="A study; `generation` counts how often it was found measurable, `changes` how often it grew.",
)
series = sa.Table(
    "series",
    metadata,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("study", sa.ForeignKey("study.uid"), primary_key=True),
    sa.Column("last_seen_s", sa.Float, nullable=False),
    sa.Column("whole_by", sa.Text),
    sa.Column("role", sa.Text),
    sa.Column("role_evidence", sa.Text),
    _one_of("role", Role),
    comment="A series; whole when `whole_by` says what evidence said so.",
)
instance = sa.Table(
    "instance",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sop_instance", sa.Text, nullable=False, index=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("study", sa.ForeignKey("study.uid"), nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("patient_id", sa.Text, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("transfer_syntax", sa.Text, nullable=False),
    sa.Column("segment", sa.Integer, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("contradicts", sa.Boolean, nullable=False),
    sa.Column("calling_ae", sa.Text, nullable=False),
    sa.Column("received_s", sa.Float, nullable=False),
    sa.UniqueConstraint("segment", "generation", "place"),  # also finds the segments that are needed
    sa.Index("instance_of_series", "study", "series"),
    sqlite_autoincrement=True,  # jobs list ids: one of an instance that was dropped must never be another's
    comment="An instance in the spool, as it was sent; one that contradicts others is kept and not measured.",
)
segment = sa.Table(
    "segment",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("written", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    comment="How far the rows follow a segment of the spool: what lies behind is entered at the next start.",
)
job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("study", sa.ForeignKey("study.uid"), nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("selection", sa.JSON, nullable=False),
    sa.Column("input_digest", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("settled_s", sa.Float),
    comment="A measurement of a study: which instances (by id) in which role; how it ended. Its state is the queue's.",
)
result = sa.Table(
    "result",
    metadata,
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("job", sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    comment="A result object; `path` is relative to the folder of results.",
)
delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("sop_instance", sa.ForeignKey("result.sop_instance"), primary_key=True),
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("updated_s", sa.Float, nullable=False),
    _one_of("state", DeliveryState),
    comment="One object owed to one destination.",
)
commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("transaction_uid", sa.Text, nullable=False),
    sa.Column("referenced", sa.JSON, nullable=False),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("requested_s", sa.Float, nullable=False),
    sa.Column("next_try_s", sa.Float, nullable=False),
    sa.Column("settled_s", sa.Float),
    sa.UniqueConstraint("peer", "transaction_uid"),
    sa.Index("commitment_by_turn", "state", "next_try_s"),
    _one_of("state", CommitmentState),
    comment="A request for storage commitment, and what became of the report on it; `status` is the last answer.",
)
