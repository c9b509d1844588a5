"""Logging of training runs.

Configures the project's logger, paddlenlp's logger, and the messages of Paddle's libraries.
"""

import logging
import os
import sys
import warnings

from tqdm import tqdm

from ppdiffusers_ext.distributed.ranks import tell_no_flags

_QUIET = "paddle|paddlenlp|ppdiffusers|_distutils_hack|setuptools"


def quieten_libraries() -> None:
    """Limit Paddle's C++ libraries to error messages. Call it before Paddle is imported."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", module=_QUIET)


def set_up_logs(debug: bool) -> None:
    """Show the project's log lines (of other processes than the first only warnings). Paddle is not imported.

    Lines are coloured only if standard error is a terminal.
    """
    handler = _Handler()
    handler.setFormatter(_Formatter())
    own = logging.getLogger("ppdiffusers_ext")
    own.handlers, own.propagate = [handler], False  # Paddle gives the root logger a handler of its own
    own.setLevel(logging.DEBUG if debug else logging.INFO if _is_first() else logging.WARNING)


def set_up_loggers(debug: bool) -> None:
    """Limit the loggers of paddlenlp and Paddle's fleet to warnings, unless `debug`; colours as above."""
    from paddle.distributed.fleet.utils.log_util import logger as of_fleet
    from paddlenlp.utils.log import logger as of_paddlenlp

    of_fleet.removeFilter(_is_of_use)
    if not debug:
        of_fleet.addFilter(_is_of_use)  # its level is set anew when processes meet
        tell_no_flags()
    of_paddlenlp.logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    if not sys.stderr.isatty():
        of_paddlenlp.handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)8s] - %(message)s"))


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line of fleet's is a warning, and not that gradients are clipped by the norm over all shards."""
    return record.levelno >= logging.WARNING and "ClipGradByGlobalNorm" not in record.getMessage()


def _is_first() -> bool:
    return os.environ.get("PADDLE_TRAINER_ID", "0") == "0"


class _Handler(logging.Handler):
    """Writes lines to standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"
