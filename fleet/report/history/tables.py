"""The tables of the history and the statements on them; text only, run by `history`.

Rows of echoes are what there is most of: plain columns, no index but the one that failures pay for. `rowid`
order is the order of a sweep; what is recorded at once lies together (`first_row`, `last_row` of `sweeps`).
"""

from typing import Final

from fleet.report.history.file import APPLICATION_ID, VERSION

KNOWN_HOSTS: Final = (
    "CREATE TABLE known_hosts (host TEXT NOT NULL, fleet TEXT NOT NULL, run INTEGER NOT NULL REFERENCES runs (number), "
    "PRIMARY KEY (host, fleet)) STRICT, WITHOUT ROWID"
)
# The end of the journal (see `journal`), the plans that runs carried out, and the saved ones that were used up.
JOURNAL_AND_PLANS: Final = """
CREATE TABLE IF NOT EXISTS journal_head (
  id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, digest TEXT NOT NULL,
  before_number INTEGER NOT NULL, before_digest TEXT NOT NULL, settled INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS run_plans (
  number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (number), resumed TEXT, content BLOB NOT NULL,
  digest TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS run_plans_by_run ON run_plans (run);
CREATE TABLE IF NOT EXISTS secret_key (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS used_plans (
  plan_id TEXT PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs (number), used_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
CREATE: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
BEGIN;
CREATE TABLE runs (
  number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, verb TEXT NOT NULL, started_at TEXT NOT NULL,
  playbook TEXT NOT NULL, who TEXT NOT NULL, from_where TEXT NOT NULL, ticket TEXT NOT NULL, reason TEXT NOT NULL,
  git_commit TEXT NOT NULL, inventory_digest TEXT NOT NULL, argv TEXT NOT NULL,
  finished_at TEXT, exit_status INTEGER, summary TEXT NOT NULL DEFAULT '{{}}', fleet TEXT) STRICT;
CREATE INDEX runs_by_verb ON runs (verb, number);
CREATE TABLE documents (digest TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
  inventory_digest TEXT NOT NULL, path TEXT NOT NULL, document_digest TEXT NOT NULL REFERENCES documents (digest),
  PRIMARY KEY (inventory_digest, path)) STRICT, WITHOUT ROWID;
CREATE TABLE valid_inventories (run INTEGER PRIMARY KEY REFERENCES runs (number), inventory_digest TEXT NOT NULL,
  recorded_at TEXT NOT NULL) STRICT;
CREATE TABLE host_outcomes (
  run INTEGER NOT NULL REFERENCES runs (number), host TEXT NOT NULL, outcome TEXT NOT NULL, phase TEXT NOT NULL,
  detail TEXT NOT NULL, as_desired INTEGER NOT NULL, PRIMARY KEY (run, host)) STRICT, WITHOUT ROWID;
CREATE TABLE file_changes (
  run INTEGER NOT NULL REFERENCES runs (number), host TEXT NOT NULL, path TEXT NOT NULL,
  before_digest TEXT, after_digest TEXT, PRIMARY KEY (run, host, path)) STRICT, WITHOUT ROWID;
CREATE TABLE sweeps (run INTEGER NOT NULL REFERENCES runs (number), first_row INTEGER NOT NULL,
  last_row INTEGER NOT NULL, PRIMARY KEY (run, first_row)) STRICT, WITHOUT ROWID;
CREATE TABLE echo_results (
  row INTEGER PRIMARY KEY, ae_title TEXT, site TEXT, host TEXT, virtual_service TEXT, address TEXT, port INTEGER,
  calling TEXT, source TEXT, outcome TEXT NOT NULL, status INTEGER, detail TEXT, warnings TEXT, attempts INTEGER,
  implementation_class_uid TEXT, implementation_version TEXT, max_pdu_bytes INTEGER, certificate_days INTEGER,
  resolve_s REAL, connect_s REAL, tls_s REAL, associate_s REAL, echo_s REAL, release_s REAL, elapsed_s REAL,
  has_peer INTEGER NOT NULL, as_desired INTEGER NOT NULL) STRICT;
CREATE INDEX failed_echoes ON echo_results (row) WHERE as_desired = 0;
CREATE TABLE applied (run INTEGER PRIMARY KEY REFERENCES runs (number), applied_at TEXT NOT NULL,
  inventory_digest TEXT NOT NULL, names TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
{KNOWN_HOSTS};
CREATE TABLE sheet_marks (
  number INTEGER PRIMARY KEY, box TEXT NOT NULL, digest TEXT NOT NULL, sheet TEXT NOT NULL, kind TEXT NOT NULL,
  who TEXT NOT NULL, marked_at TEXT NOT NULL, fleet TEXT) STRICT;
CREATE INDEX sheet_marks_by_box ON sheet_marks (box, number);
{JOURNAL_AND_PLANS}COMMIT;
"""

# A run of version 1 does not say of which fleet it is: its fleet is NULL, and it counts for every one.
FROM_1_TO_2: Final = (
    "ALTER TABLE runs ADD COLUMN fleet TEXT",
    "ALTER TABLE sheet_marks ADD COLUMN fleet TEXT",
    "ALTER TABLE known_hosts RENAME TO hosts_of_any_fleet",
    KNOWN_HOSTS,
    "INSERT INTO known_hosts SELECT host, '', run FROM hosts_of_any_fleet",
    "DROP TABLE hosts_of_any_fleet",
    "PRAGMA user_version = 2",
)
FROM_2_TO_3: Final = (*(each for each in JOURNAL_AND_PLANS.split(";") if each.strip()), "PRAGMA user_version = 3")

INSERT_RUN: Final = (
    "INSERT INTO runs (run_id, verb, started_at, playbook, who, from_where, ticket, reason, git_commit, "
    "inventory_digest, argv, fleet) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SELECT_RUNS: Final = (
    "SELECT run_id, verb, started_at, playbook, who, from_where, ticket, reason, git_commit, inventory_digest, argv, "
    "finished_at, exit_status, summary, fleet FROM runs"
)
# A host that was applied by a run which does not say of which fleet it is.
OF_ANY_FLEET: Final = "run IN (SELECT number FROM runs WHERE fleet IS NULL)"
ECHO_COLUMNS: Final = (
    "ae_title, site, host, virtual_service, address, port, calling, source, outcome, status, detail, attempts, "
    "certificate_days, elapsed_s, resolve_s, connect_s, tls_s, associate_s, echo_s, release_s, warnings, "
    "implementation_class_uid, implementation_version, max_pdu_bytes, has_peer, as_desired"
)
INSERT_ECHO: Final = f"INSERT INTO echo_results ({ECHO_COLUMNS}) VALUES ({', '.join('?' * 26)})"  # noqa: S608  constants
