"""What would have to change: pure decisions over values."""
