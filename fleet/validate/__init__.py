"""Is the inventory true to its shape, and to itself."""
