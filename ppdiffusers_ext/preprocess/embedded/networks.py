import numpy as np, openvino as ov

_core = ov.Core()


class Network:
    def __init__(self, name):
        m = _core.read_model(f"/work/packages/tflite/{name}.tflite")
        self.c = _core.compile_model(m, "CPU", {"INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"})

    def __call__(self, x):
        r = self.c(x[None])
        return [np.array(r[o]) for o in self.c.outputs]


class Networks:
    def __init__(self):
        N = Network
        self.person_detector = N("pose_detection")
        self.body = N("pose_landmark_full")
        self.hand_recrop = N("hand_recrop")
        self.hand = N("hand_landmark_full")
        self.close_face_detector = N("face_detection_short_range")
        self.face_detector = N("face_detection_full_range_sparse")
        self.face = N("face_landmark")
