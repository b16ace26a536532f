"""What each host should hold."""
