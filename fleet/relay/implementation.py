"""Who this program says it is, in associations that it takes and opens and in files that it writes (PS3.7 D.3.3.2)."""

from typing import Final

IMPLEMENTATION_UID: Final = "2.25.208716395823347190652716350421180396151"
IMPLEMENTATION_NAME: Final = "FLEET_RELAY_1"
