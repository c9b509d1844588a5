"""What the commands of EasyAnimate share."""

import sys

from ppdiffusers_ext.pipelines.easy_animate.check import check_files
from ppdiffusers_ext.pipelines.easy_animate.options import CONFIG, EasyAnimateConfig, names_of_task

from .command import ArgumentParser, add_existing, no_command
from .options import add_options, given_options


def make_parser(prog, description, task):
    """The parser of a command.

    Args:
        prog, description: of the command.
        task: one of `options.TASKS`.
    """
    parser = ArgumentParser(prog=prog, description=description, reads_checkpoints=True)
    parser.add_argument("--config", metavar="FILE", default=CONFIG, help="YAML file (default: that of EasyAnimate V4)")
    return add_existing(add_options(parser, EasyAnimateConfig, names_of_task(task)))


def make_work(task):
    """What a command does with its options."""

    def work(options):
        config = read_config(options)
        config.check(task)
        config.check_inputs()
        check_files(config)

        from ppdiffusers_ext.pipelines.easy_animate.run import make

        result = make(config, task, overwrite=options.overwrite, skip_existing=options.skip_existing)
        print(f"{'picture' if result.num_frames == 1 else 'video'}    {result.video}")
        print(f"preview  {result.contact_sheet}")

    return work


def read_config(options):
    """The `EasyAnimateConfig` that the options of `make_parser` ask for."""
    return EasyAnimateConfig.load(options.config, **given_options(options, EasyAnimateConfig))


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.predict_t2v", "scripts.predict_i2v", "scripts.predict_v2v")))
