"""The small hospital on loopback."""
