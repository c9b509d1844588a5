"""What all commands share: how options are read, errors are told, notes are shown, and work is stopped."""

import argparse
import contextlib
import io
import logging
import os
import re
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from ppdiffusers_ext.data.holding import releasing
from ppdiffusers_ext.data.outputs import moved_by
from ppdiffusers_ext.packaged import as_called
from ppdiffusers_ext.pipelines.stage_times import logged_run
from ppdiffusers_ext.weights.selection import checkpoint_key

from .options import TRUTH, CommandOptions, ConfigOptions, add_options, given_options
from .signals import stopped_by_signals

_MOST_OF_MESSAGE = 4000  # characters: missing files or tensors may be many
_MOST_OF_VALUE = 400
_OF_PATHS = ("FILE", "DIR", "VIDEO", "IN", "OUT")
_FLAG = re.compile(r"--[A-Za-z][\w-]*")
_BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended
# Options that may make less memory do, of which each command has some.
_LESS_MEMORY = {
    "a smaller size": ("--width", "-W"),
    "fewer frames": ("-L",),
    "fewer --context-frames": ("--context-frames",),
    "a smaller --segment": ("--segment",),
    "--sequential-guidance": ("--sequential-guidance",),
    "--memory low": ("--memory",),
    "fewer -j": ("-j",),
}


class ArgumentParser(argparse.ArgumentParser):
    """Tells errors as `error: what; what would be accepted` and exits with 2; has --debug.

    Args:
        prog, description: of the command.
        options: dataclass of `CommandOptions` that declares the options: words are parsed into an instance of it. If
            left out, arguments are added by `add_argument`, and words are parsed into a namespace.
    """

    def __init__(
        self,
        prog: str | None = None,
        description: str | None = None,
        options: type[CommandOptions] | None = None,
        **kwargs: Any,
    ) -> None:
        settings = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **kwargs}
        super().__init__(None if prog is None else as_called(prog), description=description, **settings)
        self.options = options
        if options is None:
            self.set_defaults(debug=False)
        add_options(self, options or CommandOptions, is_whole=True)

    def format_help(self) -> str:
        return as_called(super().format_help())

    def error(self, message: str) -> NoReturn:
        from ppdiffusers_ext.errors import one_line

        tell_error(f"{one_line(message, _MOST_OF_VALUE)}; --help lists what is accepted")
        raise SystemExit(2)

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """As argparse's; flags are spelled with hyphens."""
        return super().add_argument(*map(_hyphened, names), **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        args = self._spell(sys.argv[1:] if args is None else args)
        for word in args:
            try:
                is_name = "\0" not in word and os.fsencode(word) is not None
            except UnicodeEncodeError:
                is_name = False
            if not is_name:
                self.error(f"{ascii(word[:_MOST_OF_VALUE])} is no text; characters of Unicode but NUL are accepted")
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The command's options: an instance of the dataclass that declares them.

        Raises:
            InputError: a value that is not accepted, named by the flag as it was typed.
            SystemExit: words that are no options.
        """
        return self.read(self.parse_words(args, namespace))

    def read(self, typed: argparse.Namespace) -> Any:
        """The options of what was typed; see `parse_args`."""
        if self.options is None:
            return typed
        given = given_options(typed, self.options)
        more: dict[str, Any] = {"given": typed} if issubclass(self.options, ConfigOptions) else {}
        return self.options(**given, **more)

    def parse_words(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """The words that were typed for each option, as argparse's `parse_args` returns them."""
        words = sys.argv[1:] if args is None else list(args)
        self._check_names(words)  # before options that are missing are told: one may be there, mistyped
        options, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(unknown_option(unknown, self._known()))
        return options

    def _known(self) -> list[str]:
        """The option strings of this parser, and of those of its commands if it has any."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [string for parser in action.choices.values() for string in parser._option_string_actions]
        return found

    def _check_names(self, words: list[str]) -> None:
        """Refuse the first word that can be nothing but an option, and is none."""
        known = self._known()
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in name and _hyphened(name) not in known:
                self.error(unknown_option([word], known))

    def _spell(self, words: Sequence[str]) -> list[str]:
        """The words of a command line with hyphens in its flags. What comes after -- are no flags.

        A switch takes true or false, but no other word, where that may be an argument without a flag.
        """
        words = list(words)
        count = words.index("--") if "--" in words else len(words)
        flags = [*map(_hyphened, words[:count])]
        for place, word in enumerate(flags):
            action = self._option_string_actions.get(word)
            if self._get_positional_actions() and action is not None and action.const == "true":
                follower = flags[place + 1] if place + 1 < count else ""
                flags[place] = word if follower in TRUTH else f"{word}=true"
        return [*flags, *words[count:]]

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if "" in arg_strings and action.metavar in _OF_PATHS:
            raise argparse.ArgumentError(action, "'' is no file name; that of a file or a folder is accepted")
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            # Python leaves these dashes out, wherever they stand, and the option gets an empty list.
            raise argparse.ArgumentError(action, "expected one argument")
        return super()._get_values(action, arg_strings)


def unknown_option(words: Sequence[str], known: Sequence[str]) -> str:
    """What is said of words that no option or argument takes: the first option, and which is the nearest to it."""
    from ppdiffusers_ext.errors import nearest, shown

    word = next((word for word in words if word.startswith("-") and word != "-"), None)
    if word is None:
        return f"{shown(words[0])} is neither an option nor the value of one"
    name = word.partition("=")[0]
    near = nearest(name, [string for string in known if string.startswith("--")])
    return f"there is no option {shown(name)}" + (f"; did you mean {near}?" if near else "")


def _hyphened(word: str) -> str:
    """A word whose underscores become hyphens if it is a flag; the value after an equals sign stays."""
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if _FLAG.fullmatch(name) else word


def run(parser: ArgumentParser, work: Callable[[Any], int | None], arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and call `work(options)`.

    Returns:
        the exit code: 0 or what `work` returned, 2 for bad input, 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP,
        141 if nobody reads what is printed, 1 if it cannot be written.
    """
    code = guarded(lambda: _run(parser, work, arguments))
    if (ranks := sys.modules.get("ppdiffusers_ext.distributed.ranks")) is not None:
        ranks.leave(code)
    return code


class PrintingError(Exception):
    """What is printed on standard output cannot be written. No `OSError`: those are of what is worked on."""


def guarded(work: Callable[[], int | None]) -> int:
    """What `work()` returns as an exit code, or where that is 0 and what it prints cannot be written, 1.

    It is 141 where what it prints goes to a pipe that nobody reads.
    """
    _print_any_letter()
    code = 0
    try:
        with _printing_apart():
            try:
                code = work() or 0
            finally:
                if sys.stdout is not None:  # as after `>&-`
                    sys.stdout.flush()
    except (OSError, PrintingError) as error:
        nobody_reads = _nobody_reads()
        _send_nowhere()
        if nobody_reads:
            return _BROKEN_PIPE
        if isinstance(error, OSError):
            return fail(words_of(error))
        tell_error(f"what is printed cannot be written: {error}; another place for it is accepted, and files that "
                   "were written are complete")  # fmt: skip
        return code or 1
    return code


@contextlib.contextmanager
def _printing_apart() -> Iterator[None]:
    """Within it standard output raises `PrintingError` where it would raise OSError."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or "write" in vars(stream):
        yield
        return

    def telling(function: Callable) -> Callable:
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except OSError as error:
                raise PrintingError(error.strerror or type(error).__name__) from error

        return call

    names = ("write", "flush")
    for name in names:
        setattr(stream, name, telling(getattr(stream, name)))
    try:
        yield
    finally:
        for name in names:
            delattr(stream, name)


def _run(parser: ArgumentParser, work: Callable[[Any], int | None], arguments: Sequence[str] | None) -> int | None:
    typed = parser.parse_words(arguments)
    debug = typed.debug == "true"
    _set_up_notes(debug)
    try:
        options = parser.read(typed)
        key = checkpoint_key(getattr(options, "checkpoint_key", None))
        given = _given(parser, {**vars(typed), **vars(options)})
        _check_log(parser, dict(given))
        log = logged_run(getattr(options, "log_json", None), parser.prog)
        with stopped_by_signals(), moved_by(given=given), key, releasing(), log:
            return work(options)
    except KeyboardInterrupt as stop:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\nerror: stopped by {str(stop) or 'Ctrl-C'}; no result is left half written", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except MemoryError:
        return fail(f"out of memory; {_less_memory(parser)} may do with less", debug)
    except Exception as error:
        message = None if isinstance(error, BrokenPipeError) and _nobody_reads() else words_of(error)
        if message is None:
            raise
        return fail(message, debug)


def _given(parser: ArgumentParser, values: dict[str, Any]) -> list[tuple[Any, str]]:
    """Names of options, as a user writes them, and the texts that were given for them."""
    actions = [(action, values.get(action.dest)) for action in parser._actions]
    return [
        (next((name for name in action.option_strings if name.startswith("--")), action.metavar), str(value))
        for action, value in actions
        if isinstance(value, str)
    ]


def _check_log(parser: ArgumentParser, given: dict[Any, str]) -> None:
    """Refuse a log of events that another option names, too: it is opened before what that is for is looked at."""
    from ppdiffusers_ext.errors import InputError, shown_path

    if (log := given.pop("--log-json", None)) is None:
        return
    paths = [action.option_strings for action in parser._actions if action.metavar in _OF_PATHS]
    for option, value in given.items():
        if any(option in strings for strings in paths) and os.path.realpath(value) == os.path.realpath(log):
            raise InputError(f"--log-json and {option} are both {shown_path(log)}; different files are accepted")


def words_of(error: BaseException) -> str | None:
    """The message of an error that the user's input or the system caused; None for any other, which is a mistake."""
    from ppdiffusers_ext.errors import InputError, shown_path

    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    names = [shown_path(name) for name in (error.filename, error.filename2) if name is not None]
    what = " -> ".join(names) if names else "a file or a connection"
    reason = error.strerror or str(error) or type(error).__name__
    return f"{what} cannot be used: {reason}; files and folders that can be read, or written, are accepted"


def describe(error: BaseException) -> str:
    """What any exception says of one of many jobs: the words of a named error, the kind of another one."""
    from ppdiffusers_ext.errors import InputError

    if isinstance(error, MemoryError):
        return "out of memory; a smaller size or fewer frames may do with less"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def no_command(what: str, commands: Sequence[str]) -> int:
    """Answer whoever runs a module that commands share: --help with what it is, anything else with an error.

    Args:
        what: the module's docstring.
        commands: modules that can be run, which the answer names.

    Returns:
        the exit code.
    """
    accepted = as_called(", ".join(f"python -m {name}" for name in commands))
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(f"{as_called(what.strip())}\n\nIt is no command by itself. Commands: {accepted}")
        return 0
    return fail(f"this module is no command by itself; {accepted} are accepted")


def fail(message: str | None, debug: bool = False) -> int:
    """Tell an error; with `debug` also the traceback of the one that is handled. Returns the exit code, 2."""
    if debug:
        traceback.print_exc()
    tell_error(message)
    return 2


def tell_error(message: object) -> None:
    """Print one line on stderr that tells of an error, whatever is in its message."""
    from ppdiffusers_ext.errors import one_line

    try:
        print(f"error: {one_line(message, _MOST_OF_MESSAGE)}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:  # nor can that be told; the exit code is left
        pass


def _less_memory(parser: ArgumentParser) -> str:
    known = parser._option_string_actions
    ways = [way for way, strings in _LESS_MEMORY.items() if any(string in known for string in strings)]
    return ", ".join(ways) if ways else "smaller or fewer inputs"


def _print_any_letter() -> None:
    """Have names that the terminal's encoding lacks be printed with escapes, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _nobody_reads() -> bool:
    """Whether standard output or errors are a pipe whose reader is gone."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it is no file
            poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _send_nowhere() -> None:
    """Send what is still to be printed nowhere, or Python would tell of it as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Notes(logging.Formatter):
    """Notes without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        from ppdiffusers_ext.errors import printable

        return as_called(printable(super().format(record)))


def _set_up_notes(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Notes("note: %(message)s"))
    logger = logging.getLogger("ppdiffusers_ext")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    if not debug:
        # Paddle and paddlenlp warn at import about compilers and packages that inference does not need.
        warnings.filterwarnings("ignore", module="paddle|paddlenlp|ppdiffusers|_distutils_hack|setuptools")
