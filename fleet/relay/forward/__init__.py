"""Sending what is queued, and what the answers mean."""
