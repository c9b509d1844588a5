"""OpenVINO's compiled models, kept beside the exports that they were made from.

    FOLDER/exports/KEY/compiled/OTHER/   model.blob and manifest.json

A blob has the graph as OpenVINO rearranged it, and no weights: these are read from the export's file, which all shapes
of a network share. It takes a few megabytes, and a third of the time of compiling. It belongs to one processor, one
version of OpenVINO and the options that it was compiled with; on any other, or if it is damaged, the export is
compiled and a blob written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.outputs import output_folder
from ppdiffusers_ext.engine.entries import DAMAGE, check_manifest, remove_entry, write_manifest
from ppdiffusers_ext.engine.weights_file import digest_of_file
from ppdiffusers_ext.environment import read_processor
from ppdiffusers_ext.errors import InputError, printable

if TYPE_CHECKING:
    import openvino


logger = logging.getLogger(__name__)

_FOLDER, _BLOB = "compiled", "model.blob"
# OpenVINO's name for the attribute of a conversion that restores narrow weights. Such weights are kept as they are
# and rearranged; without it they would be widened first, in memory of their own.
_DECOMPRESSION = "decompression_0"


def compile_once(core: openvino.Core, graph: Path, weights: Path, options: dict[str, Any]) -> openvino.CompiledModel:
    """The compiled model of a graph: from the blob beside it, or compiled, with a blob written for the next time.

    Args:
        core: of OpenVINO.
        graph: ONNX or OpenVINO IR.
        weights: the file of its weights.
        options: of the processor's plugin.
    """
    key = _key(core, options)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder, options = graph.parent / _FOLDER / digest, {**options, "CACHE_MODE": "OPTIMIZE_SIZE"}
    if os.path.lexists(folder):
        try:
            check_manifest(folder, digest_of_file)
            return core.import_model((folder / _BLOB).read_bytes(), "CPU", {**options, "WEIGHTS_PATH": str(weights)})
        except (*DAMAGE, RuntimeError) as error:
            reason = printable(error, 300)
            logger.warning("the compiled model in %s is damaged (%s) and is made again", folder, reason)
            remove_entry(folder)
    model = core.read_model(str(graph))
    if options["INFERENCE_PRECISION_HINT"] == "bf16":
        _keep_narrow_weights(model)
    compiled = core.compile_model(model, "CPU", options)
    try:
        with output_folder(folder) as temporary:
            (temporary / _BLOB).write_bytes(compiled.export_model().getvalue())
            write_manifest(temporary, key, digest_of_file)
    except (InputError, OSError, RuntimeError) as error:  # such as a full disk: the model itself is there
        logger.info("the compiled model is not kept (%s): it is compiled again next time", printable(error, 300))
    return compiled


def _key(core: openvino.Core, options: dict[str, Any]) -> dict[str, Any]:
    import openvino

    vendor, instructions = read_processor()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {
        "openvino": openvino.get_version(),
        "processor": [vendor, *sorted(instructions), *sorted(able)],
        "options": options,
    }


def _keep_narrow_weights(model: openvino.Model) -> None:
    for operation in model.get_ops():
        if operation.get_type_name() == "Convert":
            source = operation.input_value(0)
            if source.get_node().get_type_name() == "Constant" and source.get_element_type().get_type_name() == "bf16":
                operation.get_rt_info()[_DECOMPRESSION] = ""
