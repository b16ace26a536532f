"""The spool: a folder of files, and beside it a queue in SQLite."""
