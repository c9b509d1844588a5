"""Measure this project, and public peers beside it.

    python -m benchmarks NAME [--json FILE]
    python -m benchmarks NAME --help

Exit codes: 0 measured, 1 a contestant failed, 2 wrong options.
"""

import argparse
import sys

from benchmarks import denoising_step, harness
from ppdiffusers_ext.errors import InputError

BENCHMARKS = {"denoising_step": denoising_step}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise InputError(f"{message}; see {self.prog} --help")


def make_parser():
    options = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = Parser(prog="python -m benchmarks", description=__doc__, **options)
    names = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    for name, module in BENCHMARKS.items():
        summary = module.__doc__.splitlines()[0]
        benchmark = names.add_parser(name, description=module.__doc__, help=summary, **options)
        benchmark.add_argument("--json", metavar="FILE", help="also write the result as JSON")
        benchmark.add_argument("--debug", action="store_true", help="show the traceback of an error")
        module.add_arguments(benchmark)
    return parser


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = make_parser().parse_args(arguments)
        harness.run(options.name, BENCHMARKS[options.name], options)
    except (InputError, harness.ContestantError) as error:
        if "--debug" in arguments:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
