"""Change it: the only rooms that touch hosts."""
