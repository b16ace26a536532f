"""argv to workflow to text and exit status; one module a verb."""
