-- The tables of a spool's queue as relays of form 2 made them; a spool of that form is read by newer ones (T78).
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE instances (
  id INTEGER PRIMARY KEY, spool_id TEXT NOT NULL UNIQUE, calling TEXT NOT NULL, called TEXT NOT NULL,
  sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, study_instance_uid TEXT NOT NULL,
  modality TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL, received_at REAL NOT NULL, elements TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, data_set_offset INTEGER NOT NULL, sha256 TEXT NOT NULL,
  conflict INTEGER NOT NULL DEFAULT 0, forgetting INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_by_uid ON instances (sop_instance_uid);
CREATE INDEX instances_by_study ON instances (study_instance_uid);
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY, instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  study_instance_uid TEXT NOT NULL, route TEXT NOT NULL, destination TEXT, role TEXT NOT NULL, state TEXT NOT NULL,
  next_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
  changed_at REAL NOT NULL, lane INTEGER NOT NULL, transaction_uid TEXT, sent_class TEXT, sent_uid TEXT);
CREATE INDEX tasks_by_transaction ON tasks (transaction_uid) WHERE transaction_uid IS NOT NULL;
CREATE INDEX tasks_to_do ON tasks (destination, lane, id) WHERE state = 'queued';
CREATE INDEX tasks_open ON tasks (state, destination) WHERE state NOT IN ('delivered', 'skipped', 'dropped');
CREATE INDEX tasks_by_instance ON tasks (instance);
CREATE INDEX tasks_by_study ON tasks (study_instance_uid, route);
CREATE INDEX tasks_waiting ON tasks (next_at) WHERE state IN ('hold', 'wait');
CREATE TABLE studies (study_instance_uid TEXT PRIMARY KEY, first_received_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE study_values (study_instance_uid TEXT, keyword TEXT, value TEXT,
  PRIMARY KEY (study_instance_uid, keyword, value)) WITHOUT ROWID;
CREATE TABLE choices (study_instance_uid TEXT, route TEXT, destination TEXT NOT NULL, chosen_at REAL NOT NULL,
  delivered_at REAL, PRIMARY KEY (study_instance_uid, route)) WITHOUT ROWID;
CREATE TABLE callers (calling TEXT PRIMARY KEY, last_at REAL NOT NULL, instances INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE paused (destination TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 2;
