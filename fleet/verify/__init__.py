"""Does it answer: the C-ECHO sweep, single probes, and the words that explain their outcomes."""
