"""Check training data: which clips can be read, and whether each fits its pose video.

    python -m scripts.check_dataset ubcNbili_data --meta cleaned_meta.json --sheet clips.png

DIR is a folder with meta_data/*.json, or with video/ and video_dwpose/; or a meta file. A line is printed for each.
The cleaned meta file names those without problems, and can be given to training. Exit code 1 if none is left.
"""

import sys

from scripts.command import ArgumentParser, run


def make_parser():
    parser = ArgumentParser(prog="python -m scripts.check_dataset", description=__doc__)
    parser.add_argument("source", metavar="DIR", nargs="+", help="folder or meta file; may be several")
    parser.add_argument("--meta", metavar="FILE", help="write the clips without problems as a meta file")
    parser.add_argument("--sheet", metavar="FILE", help="write a picture of the clips without problems")
    parser.add_argument("--min-frames", type=int, default=2, metavar="N", help="frames that a sample needs (2)")
    return parser


def work(options):
    """Check, print, and write what was asked for. Returns 1 if no clip is left."""
    from ppdiffusers_ext.data.dataset_check import check_dataset, write_meta, write_sheet
    from ppdiffusers_ext.data.outputs import check_writable
    from ppdiffusers_ext.errors import InputError

    if options.min_frames < 2:
        raise InputError(f"--min-frames {options.min_frames} is too small; 2 or more is accepted")
    for path in filter(None, (options.meta, options.sheet)):
        check_writable(path)
    reports = check_dataset(options.source, options.min_frames, on_report=_print)
    good = [report for report in reports if not report.problems]
    seconds = sum(report.duration for report in good)
    print(f"{len(good)} of {len(reports)} clips can be trained on, {seconds / 60:.1f} minutes")
    if not good:
        return 1
    if options.meta:
        write_meta(options.meta, reports)
        print(f"wrote {options.meta}")
    if options.sheet:
        write_sheet(options.sheet, reports)
        print(f"wrote {options.sheet}")
    return 0


def _print(report):
    if report.problems:
        print(f"problem  {report.files.video}: {'; '.join(report.problems)}")
    else:
        size = f"{report.width}x{report.height}"
        print(f"ok       {report.files.video}: {size}, {report.num_frames} frames, {report.fps:.2f} a second")


if __name__ == "__main__":
    sys.exit(run(make_parser(), work))
