"""The story as functions; the only place where stages meet."""
