"""What a batch comes to in EasyAnimate's training: rows, draws of samples, and what the model is told."""

import dataclasses

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_run, read_components
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.training.easy_animate.diffusion import VelocityDiffusion
from ppdiffusers_ext.training.easy_animate.encoders import Encoders
from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel, freeze
from ppdiffusers_ext.training.easy_animate.objective import EasyObjective, text_arrays
from ppdiffusers_ext.training.easy_animate.options import EasyTransformerArguments
from ppdiffusers_ext.training.lora import LoraNetwork
from ppdiffusers_ext.weights.lora_names import TEXT_ENCODER
from tests.support.easy_folders import config_for, write_easy

SIDE = 32


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    folder = tmp_path_factory.mktemp("easy") / "v4"
    write_easy(folder, "v4")
    config = config_for(folder, "v4")
    parts = describe_run(config, "float32", "float32")
    return read_components(config, parts) | {name: part.load() for name, part in parts.items()}


@pytest.fixture(scope="module")
def model(components):
    return EasyAnimateModel(components["transformer"])


@pytest.fixture(scope="module")
def make(components):
    scheduler = make_scheduler("DDIM", {"prediction_type": "v_prediction"})

    def objective(**options):
        encoders = Encoders.of_components(components, 4, False)
        arguments = EasyTransformerArguments(**options)
        return EasyObjective(encoders, VelocityDiffusion(scheduler), components["transformer"], 7, arguments)

    return objective


def batch_of(indices, frames=1, mask=1.0, repeats=1):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (200, frames, 3, SIDE, SIDE)).astype(np.float32)[indices]
    return {
        "pixel_values": paddle.to_tensor(pixels),
        "masks": paddle.full([len(indices), frames, 1, SIDE, SIDE], mask),
        "clip_pixels": paddle.full([len(indices), SIDE, SIDE, 3], 128.0),
        "texts": [f"text {index}" for index in indices],
        "repeats": repeats,
        "index": np.array(indices, np.int64),
        "clips": [f"{index}.png" for index in indices],
        "failures": [],
    }


def test_what_is_drawn_for_a_sample_does_not_depend_on_its_batch(make):
    objective = make()
    both, alone = objective.encode(batch_of([3, 5])), objective.encode(batch_of([5]))
    for name in ("latents", "known", "clip", "clip_mask"):
        np.testing.assert_allclose(getattr(both, name)[1:].numpy(), getattr(alone, name).numpy(), atol=1e-5)
    shape = both.latents.shape[1:]
    noise = objective.draw_noise([(3, 0), (5, 0)], shape)
    np.testing.assert_array_equal(noise[1:].numpy(), objective.draw_noise([(5, 0)], shape).numpy())
    assert objective.describe(batch_of([3, 5])).endswith(objective.describe(batch_of([5])))


def test_repeated_batch_has_other_noise_each_time(make, model):
    """Its loss is that of the rows together; the first ones are those without repetition."""
    objective = make()
    given = objective.encode(batch_of([3, 5], repeats=4))
    assert given.latents.shape[0] == given.known.shape[0] == given.text.states_2.shape[0] == 8
    np.testing.assert_array_equal(given.latents[:2].numpy(), given.latents[2:4].numpy())
    noise = objective.draw_noise([(index, repeat) for repeat in range(4) for index in (3, 5)], [4, 1, 4, 4])
    assert len({row.tobytes() for row in noise.numpy()}) == 8
    losses = [float(objective(model, batch_of([3, 5], repeats=repeats))) for repeats in (1, 2)]
    assert losses[0] != losses[1]


def test_most_samples_of_which_all_is_to_be_made_are_told_nothing(make):
    objective, indices = make(), list(range(120))
    for mask, share in ((1.0, 0.1), (0.0, 1.0)):
        known = objective.encode(batch_of(indices, mask=mask)).known
        told = (known.abs().flatten(1).max(axis=1) > 0).numpy()
        assert told.mean() == pytest.approx(share, abs=0.08)


def test_half_of_the_samples_are_seen_by_clip(make):
    mask = make().encode(batch_of(list(range(120)))).clip_mask.numpy()
    assert set(np.unique(mask)) == {0, 1} and (mask == mask[:, :1]).all()
    assert mask[:, 0].mean() == pytest.approx(0.5, abs=0.12)


def test_differences_of_frames_count_from_three_frames_of_latents_on(make, model):
    plain, motion = make(), make(motion_sub_loss=True)
    for frames, differs in ((8, False), (16, True)):
        batch = batch_of([3], frames)
        assert (float(plain(model, batch)) != float(motion(model, batch))) == differs


def test_videos_are_encoded_the_same_however_many_at_a_time(components):
    views = [Encoders.of_components(components, count, False).view(batch_of([1, 2, 3])) for count in (1, 2)]
    for name in ("moments", "mask_moments", "known_moments", "clip"):
        np.testing.assert_allclose(views[0][name].numpy(), views[1][name].numpy(), atol=1e-5)


def test_batch_of_what_was_kept_has_the_loss_of_its_videos(components, make, model):
    encoders, batch = Encoders.of_components(components, 4, False), batch_of([3, 5], 8, mask=0.0)
    kept = {**encoders.view(batch), **text_arrays(encoders.embed_texts(batch["texts"]))}
    kept = {name: paddle.to_tensor(value) for name, value in kept.items()}
    kept |= {name: batch[name] for name in ("texts", "index", "clips", "failures")}
    objective = make()
    assert float(objective(model, kept)) == float(objective(model, batch))


def test_text_encoder_of_a_lora_has_gradients_through_repeated_texts_and_needs_texts(components):
    scheduler, options = make_scheduler("DDIM", {"prediction_type": "v_prediction"}), EasyTransformerArguments()
    learning = components["text_encoder"]
    encoders = Encoders.of_components(components, 4, False, learning)
    objective = EasyObjective(encoders, VelocityDiffusion(scheduler), components["transformer"], 7, options)
    lora, batch = LoraNetwork({TEXT_ENCODER: learning}, 2, 2), batch_of([3, 5], repeats=2)
    objective(EasyAnimateModel(components["transformer"]), batch).backward()
    gradients = [float(layer.lora_up.weight.grad.abs().max()) for layer in lora.children()]
    assert len(gradients) > 5 and min(gradients) > 0
    kept = {"moments": 1, **text_arrays(encoders.embed_texts(batch["texts"])), **batch}
    with pytest.raises(InputError, match="--train_text_encoder learns from texts"):
        objective._text_of(kept)


def test_everything_is_trained_unless_parts_are_named(model):
    names = {name for name, _ in model.named_parameters()}
    assert set(freeze(model, ["."])) == names > {"transformer.clip_padding", "transformer.text_embedding_padding"}
    of_attention = freeze(model, ["attn1."])
    assert of_attention and all(".attn1." in name for name in of_attention)
    assert set(freeze(model, ["attn1."], ["."])) == names
    halved = {name for name, p in model.named_parameters() if p.optimize_attr["learning_rate"] == 0.5}
    assert halved == names - set(of_attention)
    with pytest.raises(InputError, match="'atn1', which no name of a parameter contains"):
        freeze(model, ["attn1", "atn1"])


@pytest.mark.parametrize(
    ("options", "of_velocity", "message"),
    [
        ({"not_sigma_loss": True}, False, "of V4, and the transformer of an earlier"),
        ({"loss_type": "sigma"}, True, "ddpm, that of V4"),
        ({"loss_type": "ddpm"}, False, "sigma, that of V1 to V3"),
        ({"snr_loss": True}, True, "of V1 to V3, and the transformer of V4"),
    ],
)
def test_loss_of_another_version_is_refused(options, of_velocity, message):
    arguments = EasyTransformerArguments(**options)
    with pytest.raises(InputError, match=message):
        arguments.check_loss(of_velocity)
    arguments.check_loss(not of_velocity)
    assert dataclasses.asdict(arguments)["loss_type"] == options.get("loss_type")
