"""Who is out there: the inventory as frozen values."""
