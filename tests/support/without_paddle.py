"""A process that refuses to import Paddle and trains: `python -m tests.support.without_paddle`.

Reads JSON from its input: a list of [trainer, arguments]. Writes JSON: for each the exit code, and what was written
to standard error. An import of Paddle shows as an exit code of None.
"""

import contextlib
import io
import json
import sys

REFUSED = ("paddle", "paddlenlp", "ppdiffusers")


class PaddleWasImported(BaseException):
    pass


class _Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED and not is_looked_for():
            raise PaddleWasImported(name)


def is_looked_for():
    """Whether a module is looked for by `importlib.util`, and not imported; a finder of ours may stand between."""
    frame = sys._getframe(2)
    while frame.f_globals["__name__"] in ("ppdiffusers_ext.library_imports", "importlib._bootstrap"):
        frame = frame.f_back
    return frame.f_globals["__name__"] == "importlib.util"


def attempt(trainer, arguments):
    from scripts.training import main

    error, code = io.StringIO(), None
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(error):
        try:
            code = main(trainer, arguments)
        except PaddleWasImported as name:
            error.write(f"{name} was imported")
    return code, error.getvalue()


if __name__ == "__main__":
    sys.meta_path.insert(0, _Refusal())
    json.dump([attempt(*case) for case in json.load(sys.stdin)], sys.stdout)
