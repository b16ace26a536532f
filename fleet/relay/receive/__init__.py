"""Receiving: connections, associations, and instances on their way to the disk."""
