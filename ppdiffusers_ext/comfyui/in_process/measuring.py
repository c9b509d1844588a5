"""Reports of frames that a node has made."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.comfyui.files import write_frames
from ppdiffusers_ext.comfyui.orders import Report
from ppdiffusers_ext.data.outputs import report_paths
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.pipelines.reporting import ResultReport


def measured(config: Any, frames: np.ndarray, reference: np.ndarray | None, driver: Driver, folder: Path) -> Report:
    """The `Report` of frames: of their files in a folder, as commands measure theirs.

    Args:
        config: options of the run, with the seed that was chosen.
        frames: (n, height, width, 3) uint8.
        reference: picture of their size, or None: the first frame is taken.
        driver: the poses that drove them.
    """
    report = ResultReport("comfyui", config, driver=driver)
    report.seed = config.seed
    result = write_frames(frames, folder, "measured")
    measures = report.measure(result, reference, "reference picture")
    report.write(result, measures)
    page, numbers = report_paths(result)
    return Report(json.loads(Path(numbers).read_text(encoding="utf-8")), Path(page).read_text(encoding="utf-8"))
