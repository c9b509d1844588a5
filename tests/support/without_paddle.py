"""A process that refuses to import Paddle and trains: `python -m tests.support.without_paddle`.

Reads JSON from its input: a list of [stage, arguments]. Writes JSON: for each the exit code, what was written to
standard error, and the seconds that it took. An import of Paddle shows as an exit code of None.
"""

import contextlib
import io
import json
import sys
import time

REFUSED = ("paddle", "paddlenlp", "ppdiffusers")


class PaddleWasImported(BaseException):
    pass


class _Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED and "importlib.util" not in sys._getframe(2).f_globals["__name__"]:
            raise PaddleWasImported(name)


def attempt(stage, arguments):
    from scripts.training import main

    error, start, code = io.StringIO(), time.perf_counter(), None
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
        try:
            code = main(stage, arguments)
        except PaddleWasImported as name:
            error.write(f"{name} was imported")
    return code, error.getvalue(), time.perf_counter() - start


if __name__ == "__main__":
    sys.meta_path.insert(0, _Refusal())
    json.dump([attempt(*case) for case in json.load(sys.stdin)], sys.stdout)
