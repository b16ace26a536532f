"""Where an instance goes, by what it is and by the hour."""
