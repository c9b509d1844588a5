from pathlib import Path

import numpy as np


class Network:
    def __init__(self, name, threads):
        import openvino as ov

        core = ov.Core()
        m = core.read_model(f"/work/packages/tflite/{name}.tflite")
        self.c = core.compile_model(
            m, "CPU", {"INFERENCE_NUM_THREADS": threads or 2, "INFERENCE_PRECISION_HINT": "f32"}
        )

    def __call__(self, x):
        r = self.c(x[None])
        return [np.array(r[o]) for o in self.c.outputs]


_N = dict(
    person_detector="pose_detection",
    body="pose_landmark_full",
    hand_recrop="hand_recrop",
    hand="hand_landmark_full",
    close_face_detector="face_detection_short_range",
    face_detector="face_detection_full_range_sparse",
    face="face_landmark",
)


class Networks:
    def __init__(self, threads=None):
        for k, v in _N.items():
            setattr(self, k, Network(v, threads))


def network_files():
    return [Path(f"/work/packages/tflite/{v}.tflite") for v in _N.values()]


def open_networks(device="cpu", threads=None):
    return Networks(threads)
