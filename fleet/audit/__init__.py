"""Is the fleet's truth one truth."""
