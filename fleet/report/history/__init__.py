"""history: what fleet did and saw, remembered in one SQLite file; the only package here that knows SQLite."""
