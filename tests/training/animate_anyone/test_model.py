"""What runs and what learns in the two stages. Predictions, losses and gradients are in the goldens."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel, freeze
from ppdiffusers_ext.training.latents import encode
from ppdiffusers_ext.weights.assignment import create
from tests.conftest import COMMON, MOTION


@pytest.fixture
def make_model(make_denoising_unet, make_reference_unet):
    def make(stage):
        pose_guider = PoseGuider(conditioning_embedding_channels=32, block_out_channels=(8, 16, 24, 32))
        unet = make_denoising_unet(use_motion_module=stage == 2)
        return AnimateAnyoneModel(make_reference_unet(), unet, pose_guider)

    return make


def arguments(frames=2):
    paddle.seed(0)
    return {
        "noisy_latents": paddle.randn([2, 4, frames, 9, 10]),
        "timesteps": paddle.to_tensor([3, 900]),
        "reference_latents": paddle.randn([2, 4, 9, 10]),
        "image_embedding": paddle.randn([2, 1, 32]),
        "pose_pixels": paddle.rand([2, 3, frames, 72, 80]),
    }


def with_gradients(model, **more):
    model.clear_gradients(set_to_zero=False)
    model(**arguments(), **more).square().mean().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_stage_1_trains_all_but_the_last_up_block_of_the_reference_unet(make_model):
    model = make_model(1)
    trained = freeze(model, 1)
    frozen = {name for name, _ in model.named_parameters()} - set(trained)
    assert frozen
    assert {name.split(".")[0] for name in trained} == {"reference_unet", "denoising_unet", "pose_guider"}
    assert all(name.startswith("reference_unet.up_blocks.3.") for name in frozen)
    assert with_gradients(model) == set(trained)


def test_stage_1_can_train_the_whole_reference_unet_of_which_all_but_the_end_reaches_the_loss(make_model):
    model = make_model(1)
    trained = freeze(model, 1, whole_reference=True)
    assert set(trained) == {name for name, _ in model.named_parameters()}
    last = "reference_unet.up_blocks.3.attentions.1."  # whose first norm makes the last features
    without = set(trained) - with_gradients(model)
    assert without and all(name.startswith(last) for name in without)
    assert f"{last}transformer_blocks.0.norm1.weight" not in without
    assert any(name.startswith("reference_unet.up_blocks.3.resnets.1.") for name in with_gradients(model))


def test_stage_2_trains_the_motion_modules_alone(make_model):
    model = make_model(2)
    trained = freeze(model, 2)
    assert trained
    assert all("motion_modules." in name and name.startswith("denoising_unet.") for name in trained)
    assert with_gradients(model) == set(trained)


def test_stages_have_the_numbers_of_tensors_of_the_original():
    options = {**COMMON, "layers_per_block": 2}
    reference = create(lambda: ReferenceUNet(**options))
    pose = create(lambda: PoseGuider(conditioning_embedding_channels=32))
    of_stage = {}
    for stage, motion in ((1, {}), (2, MOTION)):
        denoising = create(lambda motion=motion: DenoisingUNet3D(**options, **motion))
        of_stage[stage] = freeze(AnimateAnyoneModel(reference, denoising, pose), stage)
    assert len(list(reference.parameters())) == 680
    assert sum(name.startswith("reference_unet.") for name in of_stage[1]) == 566
    assert len(of_stage[2]) == 546


def test_freezing_undoes_what_was_set_before(make_model):
    model = make_model(2)
    for stop in (True, False):
        for parameter in model.parameters():
            parameter.stop_gradient = stop
        trained = freeze(model, 2)
        assert {name for name, parameter in model.named_parameters() if not parameter.stop_gradient} == set(trained)
    assert with_gradients(model) == set(trained)


@pytest.mark.parametrize(("stage", "other"), [(1, 2), (2, 1)])
def test_network_of_the_other_stage_is_refused(make_model, stage, other):
    with pytest.raises(InputError, match=f"the denoising UNet of stage {stage} has"):
        freeze(make_model(other), stage)


def test_unknown_stage_is_refused(make_model):
    with pytest.raises(InputError, match="stage 3 is unknown; 1 and 2 are accepted"):
        freeze(make_model(1), 3)


def test_unconditional_batch_does_not_see_the_reference(make_model):
    model = make_model(1)
    freeze(model, 1)
    first = arguments()
    second = {**first, "reference_latents": first["reference_latents"] + 1}
    with paddle.no_grad():
        assert float((model(**first) - model(**second)).abs().max()) > 1e-3
        assert float((model(**first, unconditional=True) - model(**second, unconditional=True)).abs().max()) == 0
    assert not any(name.startswith("reference_unet.") for name in with_gradients(model, unconditional=True))


def test_steps_of_an_accumulation_add_up_to_the_batch(make_model):
    model = make_model(1)
    trained = freeze(model, 1)
    parameters = dict(model.named_parameters())
    batch = arguments()

    def backward(samples):
        part = {name: value[samples] for name, value in batch.items()}
        loss = model(**part).square().flatten(1).mean(1).mean()
        (loss * (len(range(*samples.indices(2))) / 2)).backward()

    model.clear_gradients(set_to_zero=False)
    backward(slice(0, 2))
    whole = {name: parameters[name].grad.numpy() for name in trained}
    model.clear_gradients(set_to_zero=False)
    for index in range(2):
        backward(slice(index, index + 1))
    for name in trained:
        gradient = parameters[name].grad.numpy()
        np.testing.assert_allclose(
            gradient, whole[name], atol=1e-4 * max(1e-3, np.abs(whole[name]).max()), err_msg=name
        )


def test_latents_are_drawn_by_the_noise(make_vae):
    vae = make_vae()
    pixels = paddle.rand([2, 3, 16, 24]) * 2 - 1
    with paddle.no_grad():
        posterior = vae.encode(pixels).latent_dist
        mean = encode(vae, pixels, paddle.zeros(posterior.mean.shape), 0.18215)
        drawn = encode(vae, pixels, paddle.ones(posterior.mean.shape), 0.18215)
    np.testing.assert_allclose(mean, posterior.mean.numpy() * 0.18215, rtol=1e-6)
    np.testing.assert_allclose(drawn - mean, posterior.std.numpy() * 0.18215, rtol=1e-4, atol=1e-6)
