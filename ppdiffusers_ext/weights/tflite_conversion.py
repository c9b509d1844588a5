"""TensorFlow Lite's networks as ONNX files.

TensorFlow Lite has pictures as (n, height, width, channels), ONNX as (n, channels, height, width): tensors of four
dimensions are moved, inputs and outputs among them, and all others stay. The same network gives the same bytes.
"""

from __future__ import annotations

from onnx import helper

from ppdiffusers_ext.weights.onnx_builder import Builder, finished_model
from ppdiffusers_ext.weights.tflite_file import Network, TfliteError, read_tflite
from ppdiffusers_ext.weights.tflite_operators import TRANSLATIONS, Graph, moved_shape


def convert_tflite(data: bytes) -> bytes:
    """The ONNX file of a .tflite file.

    Raises:
        TfliteError: the file is damaged, or has an operator that is not translated.
    """
    network = read_tflite(data)
    try:
        return _translate(network)
    except TfliteError:
        raise
    except Exception as error:  # ONNX and NumPy have classes of their own for shapes that do not fit together
        raise TfliteError(f"its graph does not fit together ({' '.join(str(error).split())[:200]})") from error


def _translate(network: Network) -> bytes:
    builder = Builder()
    graph = Graph(network, builder)
    for operator in network.operators:
        translation = TRANSLATIONS.get(operator.code)
        if translation is None:
            raise TfliteError(f"it has operator {operator.code!r}, which is not translated")
        translation(graph, operator)
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                graph.name(index),
                helper.np_dtype_to_tensor_dtype(network.tensors[index].dtype),
                moved_shape(network.tensors[index].shape),
            )
            for index in indices
        ]
        for indices in (network.inputs, network.outputs)
    )
    return finished_model(builder, inputs, outputs)
