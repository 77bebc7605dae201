"""The tables. States are CHECKs, so that no code can write one that does not exist."""

from enum import StrEnum

import sqlalchemy as sa

from node.records import DeliveryState, Role, StudyState

SCHEMA_VERSION = 1

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
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("study", sa.ForeignKey("study.uid"), nullable=False),
    sa.Column("series", sa.Text, nullable=False, index=True),
    sa.Column("transfer_syntax", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("data_set_sha256", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("calling_ae", sa.Text, nullable=False),
    sa.Column("received_s", sa.Float, nullable=False),
    comment="An instance in the spool, as it was sent; `data_set_sha256` tells a repeat, `sha256` checks the file.",
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
    comment="One measurement of a study: which instances for which role, and how it ended. Its state is the queue's.",
)
result = sa.Table(
    "result",
    metadata,
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("job", sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    comment="A result object in the spool.",
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
