"""The form of the queue: its tables, how an older form is brought up to this one, and how it is opened."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fleet.errors import FleetError

VERSION: Final = 3
_BUSY_S: Final = 30.0
_SCHEMA: Final = """
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
CREATE TABLE reidentified (at REAL NOT NULL, user_id INTEGER NOT NULL, reason TEXT NOT NULL, asked TEXT NOT NULL,
  found INTEGER NOT NULL);
CREATE TABLE paused (destination TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
"""
_UPGRADES: Final[Mapping[int, str]] = {
    1: "ALTER TABLE tasks ADD COLUMN transaction_uid TEXT; ALTER TABLE tasks ADD COLUMN sent_class TEXT;"
    " ALTER TABLE tasks ADD COLUMN sent_uid TEXT;"
    " CREATE INDEX tasks_by_transaction ON tasks (transaction_uid) WHERE transaction_uid IS NOT NULL;",
    2: "CREATE TABLE reidentified (at REAL NOT NULL, user_id INTEGER NOT NULL, reason TEXT NOT NULL,"
    " asked TEXT NOT NULL, found INTEGER NOT NULL);",
}


class SpoolError(FleetError):
    """The spool cannot be used; nothing in it was changed."""


class SpoolFullError(FleetError):
    """What was to be recorded is not; `is_clean` where it is certain that no trace of it reached the disk."""

    def __init__(self, message: str, is_clean: bool) -> None:
        super().__init__(message)
        self.is_clean = is_clean


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open it; `synchronous` is FULL where a commit has to be on the disk before anybody hears of it."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -8000")
    return connection


def is_clean(error: sqlite3.Error) -> bool:
    """Whether nothing of a transaction that failed like this can be on the disk."""
    return getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}


def bring_up(connection: sqlite3.Connection, folder: Path, holds_files: bool) -> None:
    """T78: an older spool is brought up, a newer one refused, and a scratched one never taken for an empty one."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise SpoolError(f"the spool {folder} was written by a newer relay (form {found}; this one knows {VERSION})")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    while 0 < found < VERSION:
        connection.executescript(f"BEGIN; {_UPGRADES[found]} PRAGMA user_version = {found + 1}; COMMIT;")
        found += 1
    if found == VERSION:
        return
    if tables or holds_files:
        raise SpoolError(f"the spool {folder} holds files but no queue of this form; it is not overwritten")
    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
