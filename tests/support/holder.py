"""A process that holds outputs, for holds are of processes."""

import signal
import subprocess
import sys

_SCRIPT = """
import sys
from ppdiffusers_ext.data.existing import check_existing
from ppdiffusers_ext.data.records import Made
while True:
    line = sys.stdin.readline()
    if not line:
        break
    paths, pattern = eval(line)
    results = check_existing({path: Made("draw") for path in paths}, True, pattern=pattern)
    print("held", flush=True)
"""


class Holder:
    """A process that holds outputs until it is told of others, or ends."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.number = self._process.pid

    def hold(self, *paths, pattern=None):
        self._process.stdin.write(repr(([str(path) for path in paths], pattern)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "held\n"

    def end(self, number=signal.SIGKILL):
        self._process.send_signal(number)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
