"""What operators ask of a relay, and what it tells them."""
