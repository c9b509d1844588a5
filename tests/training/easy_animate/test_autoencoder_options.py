"""Options of the video autoencoder's trainer: published stages, ways of slicing, and what a resumed run must share."""

import pytest

from ppdiffusers_ext.training.easy_animate.autoencoder_options import VideoVaeArguments, shared_settings
from ppdiffusers_ext.training.parser import parse_options
from ppdiffusers_ext.training.trainers import TRAINERS

KINDS = TRAINERS["easy_animate_vae"].kinds
SLICES = ("slice_mag_vae", "slice_compression_vae", "cache_compression_vae")
# Of the original's files: frames, side, batch; weights of L1, L2, LPIPS, KL, discriminators; way of slicing.
STAGES = {
    "vae_v2": ((9, 128, 2), (1.0, 0.1, 1.0, 1e-6, 0.5), None),
    "vae_v3": ((25, 256, 1), (1.0, 0.0, 1.0, 1e-6, 0.5), "slice_compression_vae"),
    "vae_v3_decoder": ((25, 256, 1), (0.0, 1.0, 1.0, 1e-6, 0.5), "slice_compression_vae"),
    "vae_v4": ((24, 256, 1), (1.0, 0.0, 1.0, 1e-6, 0.5), "cache_compression_vae"),
}


def parse(*words):
    return parse_options(words, KINDS)


@pytest.mark.parametrize("stage", STAGES)
def test_files_are_the_published_stages(stage, tmp_path):
    model, data, training = parse(f"configs/training/easy_animate/{stage}.yaml", f"--output_dir={tmp_path / 'out'}")
    sizes, weights, slices = STAGES[stage]
    assert (data.video_len, data.video_size, training.per_device_train_batch_size) == sizes
    losses = (model.l1_loss_weight, model.l2_loss_weight, model.perceptual_weight, model.kl_weight, model.disc_weight)
    assert losses == weights
    given = model.of_config()
    assert [name for name in SLICES if given.get(name)] == ([slices] if slices else [])
    assert model.train_decoder_only == (stage == "vae_v3_decoder") and not model.train_encoder_only
    assert (training.adam_beta1, training.adam_beta2, training.learning_rate) == (0.5, 0.9, 1e-4)
    assert (training.weight_decay, training.max_grad_norm, training.seed, model.disc_start) == (0, 0, 23, 25001)


def test_defaults_are_the_originals(tmp_path):
    model, data, training = parse(f"--output_dir={tmp_path}")
    assert (data.video_len, data.video_size, data.min_crop_f, data.max_crop_f) == (25, 256, 0.25, 1.0)
    assert (training.adam_beta1, training.adam_beta2, training.max_grad_norm) == (0.5, 0.9, 0.0)
    assert model.of_config() == {} and model.uses_perceptual and model.uses_discriminators


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"slice_compression_vae": True}, {"slice_compression_vae"}),
        ({"cache_compression_vae": True, "mini_batch_decoder": 1}, {"cache_compression_vae"}),
        ({"slice_mag_vae": True}, {"slice_mag_vae"}),
    ],
)
def test_a_way_of_slicing_takes_the_place_of_the_configs(given, expected):
    options = VideoVaeArguments(**given).of_config()
    assert {name for name in SLICES if options[name]} == expected
    assert options.get("mini_batch_decoder") == given.get("mini_batch_decoder")


def test_numbers_alone_leave_the_way_of_slicing_to_the_config():
    assert VideoVaeArguments(mini_batch_encoder=4).of_config() == {"mini_batch_encoder": 4}


def test_a_resumed_run_shares_what_is_learnt_and_not_where_files_are():
    settings = [shared_settings(VideoVaeArguments(**given), KINDS[1]()) for given in ({}, {"perceptual": "elsewhere"})]
    assert settings[0] == settings[1]
    for given in ({"perceptual": "none"}, {"disc_loss": "vanilla"}, {"train_encoder_only": True}):
        assert shared_settings(VideoVaeArguments(**given), KINDS[1]()) != settings[0]
    assert shared_settings(VideoVaeArguments(gradient_checkpointing=True), KINDS[1]()) == settings[0]
