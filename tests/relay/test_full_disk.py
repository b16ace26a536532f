"""A spool on a filesystem of four megabytes, really full (T61)."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

from tests.relay.house import make_data_set
from tests.relay.process import ROOT, Relay, free_port, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_receive import parcel


def start_on_tmpfs(relay: Relay) -> None:
    """In mount and user namespaces of its own, which end with it."""
    relay.spool.mkdir(mode=0o700)
    relay.port = relay.document["listen"]["port"] = free_port()
    relay.write()
    script = 'mount -t tmpfs -o size=4m,mode=0700 tmpfs "$1" && exec "$2" -m fleet.relay run "$3"'
    words = ["unshare", "-rm", "sh", "-c", script, "sh", str(relay.spool), sys.executable, str(relay.config)]
    with relay.log.open("ab") as log:
        relay.process = subprocess.Popen(words, stderr=log, cwd=ROOT)
    wait_for(lambda: b'"started"' in relay.log.read_bytes() or relay.process_ended(), 15)


def test_a_full_disk_answers_a700_and_delivers_all_that_it_acknowledged(tmp_path: Path) -> None:
    go_on = threading.Event()
    with sinking(Script(status=lambda _uid: 0 if go_on.wait(50) else -1)) as script:
        relay = Relay(tmp_path, script.port)
        start_on_tmpfs(relay)
        try:
            answers = {}
            with relay.connect() as association:
                for number in range(40):
                    uid = f"1.2.60.{number}"
                    sent = parcel(tmp_path, make_data_set(uid, "1.2.60", pixels=250_000), uid)
                    answers[uid] = association.store(sent)
                assert association.echo() == 0
            acknowledged = {uid for uid, status in answers.items() if status == 0}
            assert set(answers.values()) == {0, 0xA700}
            assert 5 < len(acknowledged) < 20
            go_on.set()
            wait_for(lambda: set(script.uids()) == acknowledged, 20)
            for uid, digest in script.received:
                assert digest == hashlib.sha256(make_data_set(uid, "1.2.60", pixels=250_000)).hexdigest()
        finally:
            go_on.set()
            relay.kill()
