"""One module a rule; each says what is wrong and what it would do to the hospital."""
