-- Made from schema.py by: python -m node.ledger.schema

-- What people did to a job (by its id) or a study (by its alias), beside the rulings.
CREATE TABLE act (
    id INTEGER NOT NULL,
    subject TEXT NOT NULL,
    act TEXT NOT NULL,
    who TEXT NOT NULL,
    detail TEXT NOT NULL,
    done_s FLOAT NOT NULL,
    PRIMARY KEY (id),
    CHECK (act IN ('retried', 'cancelled', 'released', 'force-completed', 'adopted'))
);
CREATE INDEX ix_act_done_s ON act (done_s);

-- A request for storage commitment, and what became of the report on it; `status` is the last answer.
CREATE TABLE commitment (
    id INTEGER NOT NULL,
    peer TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    referenced JSON NOT NULL,
    instances INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL,
    requested_s FLOAT NOT NULL,
    next_try_s FLOAT NOT NULL,
    settled_s FLOAT,
    PRIMARY KEY (id),
    UNIQUE (peer, transaction_uid),
    CHECK (state IN ('owed', 'reported', 'abandoned'))
);
CREATE INDEX commitment_by_turn ON commitment (state, next_try_s);

-- What was told of an EMG finding, and for which study, by one of its keys; it may come before the study. Keys are text, not bytes as in `study`: whoever tells does not know the study's character set.
CREATE TABLE emg_statement (
    id INTEGER NOT NULL,
    study TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    study_date TEXT NOT NULL,
    level TEXT NOT NULL,
    side TEXT NOT NULL,
    source TEXT NOT NULL,
    entered_s FLOAT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_emg_statement_accession_number ON emg_statement (accession_number);
CREATE INDEX ix_emg_statement_patient_id ON emg_statement (patient_id);
CREATE INDEX ix_emg_statement_study ON emg_statement (study);

-- How many instances a series has, or with an empty `series` a study, by the word of `source`.
CREATE TABLE expectation (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    source TEXT NOT NULL,
    instances INTEGER NOT NULL,
    noted_s FLOAT NOT NULL,
    PRIMARY KEY (study, series, source)
);

-- The instances of an expectation whose `source` names them.
CREATE TABLE expected_instance (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    source TEXT NOT NULL,
    sop_instance TEXT NOT NULL,
    PRIMARY KEY (study, series, source, sop_instance)
);

-- The version of these tables.
CREATE TABLE ledger_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);

-- A Modality Performed Procedure Step, once for each study that it is of.
CREATE TABLE procedure_step (
    sop_instance TEXT NOT NULL,
    study TEXT NOT NULL,
    state TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    updated_s FLOAT NOT NULL,
    PRIMARY KEY (sop_instance, study),
    CHECK (state IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED'))
);
CREATE INDEX ix_procedure_step_study ON procedure_step (study);

-- How far the rows follow a segment of the spool: what lies behind is entered at the next start.
CREATE TABLE segment (
    number INTEGER NOT NULL,
    generation BIGINT NOT NULL,
    written BIGINT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (number)
);

-- A study; `generation` counts how often it was found measurable, `changes` how often it grew; `since_s` is when it came into its state, `whole_by` what evidence closed it, `forced_by` who wants it closed now.
CREATE TABLE study (
    uid TEXT NOT NULL,
    alias TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    generation INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    first_seen_s FLOAT NOT NULL,
    last_seen_s FLOAT NOT NULL,
    since_s FLOAT NOT NULL,
    whole_by TEXT,
    forced_by TEXT,
    PRIMARY KEY (uid),
    CHECK (state IN ('gathering', 'measurable', 'not eligible', 'held', 'expired')),
    UNIQUE (alias)
);
CREATE INDEX ix_study_state ON study (state);

-- What a study was last measured with, and the keys of its order; `unclear`: why nothing was taken from it.
CREATE TABLE emg_suspicion (
    study TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    study_date TEXT NOT NULL,
    level TEXT NOT NULL,
    side TEXT NOT NULL,
    source TEXT NOT NULL,
    basis TEXT NOT NULL,
    unclear TEXT NOT NULL,
    PRIMARY KEY (study),
    FOREIGN KEY(study) REFERENCES study (uid)
);
CREATE INDEX ix_emg_suspicion_accession_number ON emg_suspicion (accession_number);
CREATE INDEX ix_emg_suspicion_patient_id ON emg_suspicion (patient_id);

-- An instance in the spool, as it was sent; one that contradicts others is kept and not measured.
CREATE TABLE instance (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    sop_instance TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL,
    segment INTEGER NOT NULL,
    generation BIGINT NOT NULL,
    place BIGINT NOT NULL,
    contradicts BOOLEAN NOT NULL,
    calling_ae TEXT NOT NULL,
    received_s FLOAT NOT NULL,
    UNIQUE (segment, generation, place),
    FOREIGN KEY(study) REFERENCES study (uid)
);
CREATE INDEX instance_of_series ON instance (study, series);
CREATE INDEX ix_instance_sop_instance ON instance (sop_instance);

-- A measurement of a study: in each role, which instances (by id), and which stack of their series; how it ended. Its state is the queue's. `task`: all that it was told, as JSON, to do it again by; empty before it began.
CREATE TABLE job (
    id TEXT NOT NULL,
    study TEXT NOT NULL,
    generation INTEGER NOT NULL,
    selection JSON NOT NULL,
    stacks JSON NOT NULL,
    input_digest TEXT,
    task TEXT NOT NULL,
    outcome TEXT,
    created_s FLOAT NOT NULL,
    settled_s FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(study) REFERENCES study (uid)
);
CREATE INDEX ix_job_study ON job (study);

-- A series that an archive is asked to send, once; with the reason prior its study is never measured.
CREATE TABLE retrieval (
    id INTEGER NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    archive TEXT NOT NULL,
    reason TEXT NOT NULL,
    for_study TEXT NOT NULL,
    instances INTEGER,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL,
    asked_s FLOAT NOT NULL,
    next_try_s FLOAT NOT NULL,
    settled_s FLOAT,
    PRIMARY KEY (id),
    UNIQUE (study, series, archive),
    CHECK (reason IN ('missing', 'localizer', 'prior', 'result', 'operator')),
    CHECK (state IN ('asked', 'done', 'failed')),
    FOREIGN KEY(for_study) REFERENCES study (uid)
);
CREATE INDEX ix_retrieval_for_study ON retrieval (for_study);
CREATE INDEX retrieval_by_turn ON retrieval (archive, state, next_try_s);

-- A series; whole when `whole_by` says what evidence said so.
CREATE TABLE series (
    uid TEXT NOT NULL,
    study TEXT NOT NULL,
    last_seen_s FLOAT NOT NULL,
    whole_by TEXT,
    PRIMARY KEY (uid, study),
    FOREIGN KEY(study) REFERENCES study (uid)
);

-- What the stacks of a series were found to be when the study was last closed, and by which rule.
CREATE TABLE stack (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    contrast TEXT,
    fat_suppressed BOOLEAN NOT NULL,
    confidence TEXT NOT NULL,
    rule TEXT NOT NULL,
    rule_table TEXT NOT NULL,
    evidence TEXT NOT NULL,
    PRIMARY KEY (study, series, number),
    CHECK (role IN ('localizer', 'axial T1', 'sagittal T1', 'coronal T1', 'axial T2', 'sagittal T2', 'coronal T2', 'axial STIR', 'sagittal STIR', 'coronal STIR', 'Dixon water', 'Dixon fat', 'Dixon in-phase', 'Dixon opposed-phase', 'dynamic', 'MRV time of flight', 'MRV phase contrast magnitude', 'MRV phase contrast velocity', 'MRV contrast-enhanced', 'MRV bSSFP', 'derived', 'other')),
    CHECK (contrast IN ('pre', 'post', 'contradictory')),
    CHECK (confidence IN ('high', 'medium', 'low')),
    FOREIGN KEY(study) REFERENCES study (uid)
);

-- A result object that the output gate held back, of a job's last attempt; `path` is relative to the folder of the quarantine.
CREATE TABLE quarantine (
    job TEXT NOT NULL,
    role TEXT NOT NULL,
    path TEXT NOT NULL,
    faults TEXT NOT NULL,
    PRIMARY KEY (job, path),
    FOREIGN KEY(job) REFERENCES job (id)
);

-- A result object; `path` is relative to the folder of results.
CREATE TABLE result (
    sop_instance TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    job TEXT NOT NULL,
    role TEXT NOT NULL,
    path TEXT NOT NULL,
    series TEXT NOT NULL,
    PRIMARY KEY (sop_instance),
    FOREIGN KEY(job) REFERENCES job (id)
);
CREATE INDEX ix_result_job ON result (job);

-- What people decided about the results of a job, or have to; the last one holds.
CREATE TABLE ruling (
    id INTEGER NOT NULL,
    job TEXT NOT NULL,
    ruling TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_s FLOAT NOT NULL,
    PRIMARY KEY (id),
    CHECK (ruling IN ('waits for review', 'approved', 'rejected', 'recalled')),
    FOREIGN KEY(job) REFERENCES job (id)
);
CREATE INDEX ix_ruling_job ON ruling (job);

-- One object owed to one destination, and how far it is proven to be there; without `next_try_s` nothing follows; `turns` are those in vain since it came into its state, `looks` those that found no study there. `sent_class`, `sent_instance`: what was sent instead.
CREATE TABLE delivery (
    sop_instance TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL,
    updated_s FLOAT NOT NULL,
    turns INTEGER NOT NULL,
    looks INTEGER NOT NULL,
    next_try_s FLOAT,
    sent_class TEXT NOT NULL,
    sent_instance TEXT NOT NULL,
    released_by TEXT NOT NULL,
    PRIMARY KEY (sop_instance, destination),
    CHECK (state IN ('owed', 'stored', 'committed', 'seen', 'abandoned', 'parked', 'held', 'withdrawn')),
    FOREIGN KEY(sop_instance) REFERENCES result (sop_instance)
);
CREATE INDEX delivery_by_turn ON delivery (destination, next_try_s);
CREATE INDEX ix_delivery_sent_instance ON delivery (sent_instance);
CREATE INDEX ix_delivery_state ON delivery (state);

-- An object that a destination was asked to commit itself to, until it says whether it does.
CREATE TABLE commitment_request (
    transaction_uid TEXT NOT NULL,
    sop_instance TEXT NOT NULL,
    destination TEXT NOT NULL,
    PRIMARY KEY (transaction_uid, sop_instance, destination),
    FOREIGN KEY(sop_instance, destination) REFERENCES delivery (sop_instance, destination)
);
