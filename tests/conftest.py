"""What holds for every test."""

import signal

# Whoever starts the tests in the background hands down an ignored Ctrl-C, and every process started from here
# would ignore it too, as POSIX wants it: the tests of interrupted work would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
# So does nohup with a terminal's end. What is caught here is nobody else's: exec gives it back its meaning (signal(7)).
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
