"""Optimising faces: gradients, what stays as it is, what is refused. Its numbers are compared in test_parity."""

import paddle
import paddle.nn.functional as F
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.stable_animator import IResNet
from ppdiffusers_ext.models.stable_animator.arcface import crop_face
from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement, clean_latents, velocity
from tests.pipelines.stable_animator.test_pipeline import SIDE, call, pipeline

__all__ = ["pipeline"]  # a fixture

BOXES = [(10, 60, 20, 70), None, (0, SIDE - 1, 0, SIDE - 1)]


@pytest.fixture(scope="module")
def recognizer():
    paddle.seed(2)
    network = IResNet((1, 1, 1, 1), (4, 4, 8, 8), 16)
    network.eval()
    return network


def make(recognizer, boxes=BOXES, first=0, last=0, iterations=2):
    reference = paddle.ones([1, 16])
    return FaceRefinement(recognizer, reference, list(boxes), first, last, iterations)


def latents(frames=3):
    return paddle.randn([1, frames, 4, SIDE // 8, SIDE // 8])


def test_gradient_is_that_of_the_loss(pipeline, recognizer):
    refinement, clean = make(recognizer), latents()
    clean.stop_gradient = False
    cosines = refinement.backward(clean, pipeline.vae, 3)
    leaf = clean.detach()
    leaf.stop_gradient = False
    frames = pipeline.vae.decode(leaf[0] / pipeline.vae.config.scaling_factor, num_frames=3).sample.clip(-1, 1)
    faces = paddle.concat([crop_face(frames[i : i + 1], BOXES[i]) for i in (0, 2)])
    likeness = F.cosine_similarity(recognizer(faces), refinement.reference.expand([2, 16]), axis=-1)
    (1 - likeness).abs().mean().backward()
    assert float((clean.grad - leaf.grad).abs().max()) < 1e-4 * float(leaf.grad.abs().max())
    assert cosines[1] is None and [cosines[0], cosines[2]] == pytest.approx(likeness.tolist(), abs=1e-5)


def test_chunks_without_a_face_stay_as_they_are(pipeline, recognizer):
    refinement, clean = make(recognizer, [BOXES[0], None, None]), latents()
    refined = refinement.refine(clean, pipeline.vae, 0, 4, chunk_size=1)
    moved = [float((refined - clean)[0, i].abs().max()) for i in range(3)]
    assert moved[1:] == [0, 0] and moved[0] == pytest.approx(0.2, rel=0.1)  # two steps of Adam at a rate of 0.1


def test_networks_are_as_before(pipeline, recognizer):
    def state():
        parameters = [*pipeline.vae.parameters(), *recognizer.parameters()]
        gradients = [None if parameter.grad is None else float(parameter.grad.abs().sum()) for parameter in parameters]
        changed = [layer for layer in pipeline.vae.decoder.sublayers() if "forward" in vars(layer)]
        return [parameter.stop_gradient for parameter in parameters], gradients, changed

    before = state()
    make(recognizer).refine(latents(), pipeline.vae, 0, 1, 2)
    assert state() == before


def test_faces_become_more_like_the_picture(pipeline, recognizer):
    refinement = make(recognizer, BOXES, 0, 1, 4)
    call(pipeline, num_inference_steps=3, refinement=refinement)
    assert [(entry["step"], entry["iteration"]) for entry in refinement.history] == [
        (step, iteration) for step in (0, 1) for iteration in range(4)
    ]
    for step in (0, 1):
        losses = [entry["loss"] for entry in refinement.history if entry["step"] == step]
        assert losses[-1] < losses[0]


def test_velocity_and_clean_latents_are_inverse():
    prediction, noisy = latents(), 5 * latents()
    back = velocity(clean_latents(prediction, noisy, 3.0), noisy, 3.0)
    assert float((back - prediction).abs().max()) < 1e-5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"boxes": BOXES[:2]}, "2 boxes of faces for 3 frames"),
        ({"boxes": [None] * 3}, "no frame has a face to optimise"),
        ({"boxes": [(0, SIDE, 0, 5), None, None]}, r"the face \(0, 128, 0, 5\) of frame 0 is not within 128x128"),
        ({"boxes": [None, (5, 4, 0, 5), None]}, "of frame 1 is not within"),
        ({"last": 1}, "steps 0 to 1 cannot be refined, of 1"),
        ({"first": -1}, "steps -1 to 0 cannot be refined"),
        ({"iterations": 0}, "num_optimization_iter 0 is too small"),
    ],
)
def test_what_does_not_fit_a_clip_is_refused(pipeline, recognizer, change, message):
    with pytest.raises(InputError, match=message):
        call(pipeline, refinement=make(recognizer, **change))
