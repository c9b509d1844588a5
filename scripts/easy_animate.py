"""What the commands of EasyAnimate share."""

import sys
from collections.abc import Callable

from ppdiffusers_ext.pipelines.easy_animate.check import check_files
from ppdiffusers_ext.pipelines.easy_animate.options import CONFIG, EasyAnimateConfig, names_of_task

from .command import ArgumentParser, no_command
from .options import ConfigOptions, add_options, given_options


def make_parser(prog: str, description: str | None, task: str) -> ArgumentParser:
    """The parser of a command.

    Args:
        prog, description: of the command.
        task: one of `options.TASKS`.
    """
    parser = ArgumentParser(prog, description, ConfigOptions)
    return add_options(parser, EasyAnimateConfig, names_of_task(task))


def make_work(task: str) -> Callable[[ConfigOptions], None]:
    """What a command does with its options."""

    def work(options: ConfigOptions) -> None:
        config = read_config(options)
        config.check(task)
        config.check_inputs()
        check_files(config)

        from ppdiffusers_ext.pipelines.easy_animate.run import make

        result = make(config, task)
        print(f"{'picture' if result.num_frames == 1 else 'video'}    {result.video}")
        print(f"preview  {result.contact_sheet}")
        if result.report is not None:
            print(f"report   {result.report}")

    return work


def read_config(options: ConfigOptions) -> EasyAnimateConfig:
    """The `EasyAnimateConfig` that the options of `make_parser` ask for."""
    return EasyAnimateConfig.load(options.config or CONFIG, **given_options(options.given, EasyAnimateConfig))


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.predict_t2v", "scripts.predict_i2v", "scripts.predict_v2v")))
