"""What the commands of EasyAnimate share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option
from ppdiffusers_ext.pipelines.easy_animate.check import check_files
from ppdiffusers_ext.pipelines.easy_animate.options import CONFIG, EasyAnimateConfig, names_of_task

from .beautify_prompt import KEY_VARIABLE, make_client
from .command import ArgumentParser, no_command
from .options import ConfigOptions, add_options, given_options
from .ranks import divided


@dataclass(frozen=True, kw_only=True)
class TextOptions(ConfigOptions):
    """Options of the command that makes a video of a text: what becomes of the prompt before."""

    beautify_prompt: str | None = option(
        None,
        help="OpenAI-compatible server whose model expands the prompt into a description, as http://HOST/v1",
        unset="the prompt as it is",
        metavar="URL",
    )
    beautify_model: str | None = option(None, help="name of that server's model", metavar="NAME")
    beautify_key: str | None = option(
        None, help="key of that server", unset=f"{KEY_VARIABLE} of the environment", metavar="KEY"
    )


def make_parser(prog: str, description: str | None, task: str) -> ArgumentParser:
    """The parser of a command.

    Args:
        prog, description: of the command.
        task: one of `options.TASKS`.
    """
    parser = ArgumentParser(prog, description, TextOptions if task == "text" else ConfigOptions)
    return add_options(parser, EasyAnimateConfig, names_of_task(task))


def checked(options: ConfigOptions, task: str) -> EasyAnimateConfig:
    """As `read_config`, checked for a task; all files that it names are there."""
    config = read_config(options)
    config.check(task)
    config.check_inputs()
    check_files(config)
    return config


def make_work(task: str) -> Callable[[ConfigOptions], int | None]:
    """What a command does with its options."""

    def work(options: ConfigOptions) -> None:
        config = checked(options, task)
        if isinstance(options, TextOptions):
            prompt = current_ranks().of_first("the prompt", lambda: beautified(config, options))
            config = replace(config, prompt=prompt)

        from ppdiffusers_ext.pipelines.easy_animate.run import make

        result = make(config, task)
        print(f"{'picture' if result.num_frames == 1 else 'video'}    {result.video}")
        print(f"preview  {result.contact_sheet}")
        if result.report is not None:
            print(f"report   {result.report}")

    return divided(work)


def beautified(config: EasyAnimateConfig, options: TextOptions) -> str:
    """The prompt, or what the model of a server makes of it; that is printed, so that it can be given again.

    Raises:
        InputError: options that do not go together, or no answer that can be used.
    """
    others = [name for name in ("beautify_model", "beautify_key") if getattr(options, name) is not None]
    if options.beautify_prompt is None:
        if others:
            raise InputError(f"--{others[0].replace('_', '-')} is given without --beautify-prompt")
        return config.prompt
    if config.skip_existing:
        raise InputError("--beautify-prompt writes a new prompt each time, and --skip-existing needs the one before; "
                         "it was printed, and --prompt takes it")  # fmt: skip

    from ppdiffusers_ext.chat.rewriting import beautify

    flags = "--beautify-prompt and --beautify-model"
    client = make_client(options.beautify_prompt, options.beautify_model, options.beautify_key, flags)
    prompt = beautify(config.prompt, client)
    print(f"prompt   {prompt}", flush=True)
    return prompt


def read_config(options: ConfigOptions) -> EasyAnimateConfig:
    """The `EasyAnimateConfig` that the options of `make_parser` ask for."""
    return EasyAnimateConfig.load(options.config or CONFIG, **given_options(options.given, EasyAnimateConfig))


if __name__ == "__main__":
    sys.exit(no_command(__doc__, ("scripts.predict_t2v", "scripts.predict_i2v", "scripts.predict_v2v")))
