"""What holds for every test."""

import signal

# Whoever starts the tests in the background hands down an ignored Ctrl-C, and every process started from here
# would ignore it too, as POSIX wants it: the tests of interrupted work would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
