"""Say so, and remember."""
