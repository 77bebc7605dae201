"""The tables. States are CHECKs, so that no code can write one that does not exist.

`python -m node.ledger.schema` writes them into schema.sql, by which `database.open_database` makes them without
SQLAlchemy. A release that changes them has another `database.SCHEMA_VERSION`.
"""

from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from node.dicom.performed import StepState
from node.records import (
    Act,
    CommitmentState,
    Confidence,
    Contrast,
    DeliveryState,
    RetrievalReason,
    RetrievalState,
    Ruling,
    SeriesRole,
    StudyState,
)

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
    sa.Column("since_s", sa.Float, nullable=False),
    sa.Column("whole_by", sa.Text),
    sa.Column("forced_by", sa.Text),
    _one_of("state", StudyState),
    comment="A study; `generation` counts how often it was found measurable, `changes` how often it grew; `since_s` is "
    "when it came into its state, `whole_by` what evidence closed it, `forced_by` who wants it closed now.",
)
series = sa.Table(
    "series",
    metadata,
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("study", sa.ForeignKey("study.uid"), primary_key=True),
    sa.Column("last_seen_s", sa.Float, nullable=False),
    sa.Column("whole_by", sa.Text),
    comment="A series; whole when `whole_by` says what evidence said so.",
)
stack = sa.Table(
    "stack",
    metadata,
    sa.Column("study", sa.ForeignKey("study.uid"), primary_key=True),
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("contrast", sa.Text),
    sa.Column("fat_suppressed", sa.Boolean, nullable=False),
    sa.Column("confidence", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("rule_table", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    _one_of("role", SeriesRole),
    _one_of("contrast", Contrast),
    _one_of("confidence", Confidence),
    comment="What the stacks of a series were found to be when the study was last closed, and by which rule.",
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
    sa.Column("stacks", sa.JSON, nullable=False),
    sa.Column("input_digest", sa.Text),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("created_s", sa.Float, nullable=False),
    sa.Column("settled_s", sa.Float),
    comment="A measurement of a study: in each role, which instances (by id), and which stack of their series; how it "
    "ended. Its state is the queue's. `task`: all that it was told, as JSON, to do it again by; empty before it began.",
)
result = sa.Table(
    "result",
    metadata,
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("sop_class", sa.Text, nullable=False),
    sa.Column("job", sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    comment="A result object; `path` is relative to the folder of results.",
)
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("job", sa.ForeignKey("job.id"), primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("faults", sa.Text, nullable=False),
    comment="A result object that the output gate held back, of a job's last attempt; `path` is relative to the folder "
    "of the quarantine.",
)
ruling = sa.Table(
    "ruling",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job", sa.ForeignKey("job.id"), nullable=False, index=True),
    sa.Column("ruling", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("decided_s", sa.Float, nullable=False),
    _one_of("ruling", Ruling),
    comment="What people decided about the results of a job, or have to; the last one holds.",
)
act = sa.Table(
    "act",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("done_s", sa.Float, nullable=False, index=True),
    _one_of("act", Act),
    comment="What people did to a job (by its id) or a study (by its alias), beside the rulings.",
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
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("looks", sa.Integer, nullable=False),
    sa.Column("next_try_s", sa.Float),
    sa.Column("sent_class", sa.Text, nullable=False),
    sa.Column("sent_instance", sa.Text, nullable=False, index=True),
    sa.Column("released_by", sa.Text, nullable=False),
    sa.Index("delivery_by_turn", "destination", "next_try_s"),
    _one_of("state", DeliveryState),
    comment="One object owed to one destination, and how far it is proven to be there; without `next_try_s` nothing "
    "follows; `turns` are those in vain since it came into its state, `looks` those that found no study there. "
    "`sent_class`, `sent_instance`: what was sent instead.",
)
commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("transaction_uid", sa.Text, primary_key=True),
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("destination", sa.Text, primary_key=True),
    sa.ForeignKeyConstraint(["sop_instance", "destination"], ["delivery.sop_instance", "delivery.destination"]),
    comment="An object that a destination was asked to commit itself to, until it says whether it does.",
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
retrieval = sa.Table(
    "retrieval",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("archive", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("for_study", sa.ForeignKey("study.uid"), nullable=False, index=True),
    sa.Column("instances", sa.Integer),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("asked_s", sa.Float, nullable=False),
    sa.Column("next_try_s", sa.Float, nullable=False),
    sa.Column("settled_s", sa.Float),
    sa.UniqueConstraint("study", "series", "archive"),
    sa.Index("retrieval_by_turn", "archive", "state", "next_try_s"),
    _one_of("reason", RetrievalReason),
    _one_of("state", RetrievalState),
    comment="A series that an archive is asked to send, once; with the reason prior its study is never measured.",
)
expectation = sa.Table(
    "expectation",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("noted_s", sa.Float, nullable=False),
    comment="How many instances a series has, or with an empty `series` a study, by the word of `source`.",
)
expected_instance = sa.Table(
    "expected_instance",
    metadata,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("sop_instance", sa.Text, primary_key=True),
    comment="The instances of an expectation whose `source` names them.",
)
procedure_step = sa.Table(
    "procedure_step",
    metadata,
    sa.Column("sop_instance", sa.Text, primary_key=True),
    sa.Column("study", sa.Text, primary_key=True, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("calling_ae", sa.Text, nullable=False),
    sa.Column("updated_s", sa.Float, nullable=False),
    _one_of("state", StepState),
    comment="A Modality Performed Procedure Step, once for each study that it is of.",
)

emg_statement = sa.Table(
    "emg_statement",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study", sa.Text, nullable=False, index=True),
    sa.Column("accession_number", sa.Text, nullable=False, index=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("study_date", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("entered_s", sa.Float, nullable=False),
    comment="What was told of an EMG finding, and for which study, by one of its keys; it may come before the study. "
    "Keys are text, not bytes as in `study`: whoever tells does not know the study's character set.",
)
emg_suspicion = sa.Table(
    "emg_suspicion",
    metadata,
    sa.Column("study", sa.ForeignKey("study.uid"), primary_key=True),
    sa.Column("accession_number", sa.Text, nullable=False, index=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("study_date", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("basis", sa.Text, nullable=False),
    sa.Column("unclear", sa.Text, nullable=False),
    comment="What a study was last measured with, and the keys of its order; `unclear`: why nothing was taken from it.",
)


def as_sql() -> str:
    """Return the statements that make the tables."""

    def sql_of(statement: DDLElement) -> str:
        lines = str(statement.compile(dialect=sqlite.dialect())).strip().replace("\t", "    ").splitlines()
        return "\n".join(line.rstrip() for line in lines) + ";\n"

    parts = ["-- Made from schema.py by: python -m node.ledger.schema\n"]
    for table in metadata.sorted_tables:
        parts.append(f"\n-- {table.comment}\n{sql_of(CreateTable(table))}")
        parts += [sql_of(CreateIndex(index)) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("schema.sql").write_text(as_sql())
