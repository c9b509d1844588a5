"""An epoch of EasyAnimate's training on latents that scripts.cache_latents keeps, beside one on the clips themselves.

    python -m benchmarks cached_latents --rounds 3 --json cached_latents.json

Runs scripts/trainer_easy_animate.py as V4 is trained: for inpainting, one video a step. What is kept saves the
autoencoder three videos a sample (the video, its mask, and what the mask leaves), CLIP a picture, and BERT and mT5 a
text. How much that is depends on how large they are beside the transformer, so all have their published depth and a
quarter of their published widths: each has about a sixteenth of its operations, whose shares are those of full size
but for the transformer's attention, of which a quarter is left. Videos are 24 frames of 256x256, the size of V4's
first stage, from drawn clips of 512x512. Weights are random. One thread.

Seconds are those of an epoch of all clips, by the speed of the later half of the logged steps, the median of --rounds
in which both take turns. `data_share` is the part of the time in which a training waited for its data.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks import easy_clip, full_size, harness
from benchmarks.dit_step import SMALL as SMALL_TRANSFORMER
from benchmarks.training_scaling import read_log, run_trainer
from ppdiffusers_ext.errors import InputError

SCHEDULER = harness.ROOT / "configs" / "training" / "easy_animate_demo" / "scheduler"
BERT = {"hidden_size": 256, "num_hidden_layers": 24, "num_attention_heads": 4, "intermediate_size": 1024}
MT5 = {"d_model": 512, "d_kv": 64, "num_heads": 8, "d_ff": 1280, "num_layers": 24}
VISION = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 12, "num_attention_heads": 3}
PICTURES = {  # of CLIP
    "crop_size": {"height": 224, "width": 224},
    "size": {"shortest_edge": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
    **dict.fromkeys(("do_center_crop", "do_convert_rgb", "do_normalize", "do_rescale", "do_resize"), True),
}
QUARTER = {
    "transformer": {
        "num_attention_heads": 4,
        "hidden_size": 352,
        "cross_attention_dim": 256,
        "cross_attention_dim_t5": 512,
        "pooled_projection_dim": 256,
        "projection_dim": 192,
    },
    "vae": {"block_out_channels": (32, 64, 128, 128)},
    "text_encoder": BERT,
    "text_encoder_2": MT5,
    "image_encoder": {**VISION, "projection_dim": 192},
    "side": 256,
    "frames": 24,
    "clips": 8,
}
SMALL = {
    "transformer": {**SMALL_TRANSFORMER, "num_layers": 2, "projection_dim": 32},
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "text_encoder": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "text_encoder_2": {"d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 32, "num_layers": 1},
    "image_encoder": {
        **dict.fromkeys(("hidden_size", "intermediate_size", "projection_dim"), 32),
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "side": 64,
    "frames": 8,
    "clips": 2,
}


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="times that both take a turn (default 1)")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="of each run (default 8)")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the benchmark itself")


def compete(options):
    for name, least in (("rounds", 1), ("steps", 2)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} is too small; {least} or more is accepted")
    settings, rows = settings_of(options.small, options.steps), {"cached": [], "clips": []}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        write_all(folder, settings)
        start = time.perf_counter()
        _cache(folder, settings)
        making = time.perf_counter() - start
        for number in range(options.rounds):
            for name, runs in rows.items():
                runs.append(train(folder, name, settings, f", round {number + 1} of {options.rounds}"))
    cached, clips = (_middle(rows[name]) for name in ("cached", "clips"))
    fields = harness.result(cached, {"clips": clips}, making_seconds=making, settings=settings)
    harness.print_table({"cached": cached, "clips": clips}, fields["ratios"], "clips / cached")
    print(f"waiting for data: {cached['data_share']:.1%} with kept latents, {clips['data_share']:.1%} with clips")
    clips_kept = settings["clips"]
    print(f"keeping latents of {clips_kept} clips took {making:.1f} seconds, with the start of the process")
    return fields


def _middle(runs):
    """The median of the seconds of several runs, the largest share and the largest peak."""
    row = {name: max(run[name] for run in runs) for name in ("data_share", "peak_bytes")}
    times = [run["seconds"] for run in runs]
    return {"seconds": statistics.median(times), "times": times, **row}


def settings_of(small, steps):
    return {**(SMALL if small else QUARTER), "steps": steps}


def write_all(folder, settings):
    """Write networks of random weights and clips into a folder."""
    given = {"folder": str(folder), **settings}
    harness.run_contestant("cached_latents", "write", given, title="nothing yet: writing weights and clips")


def train(folder, name, settings, title=""):
    """What the trainer said of its run: seconds of an epoch, data_share and peak_bytes.

    Args:
        folder: of `write_all`.
        name: "clips", or "cached" for the latents that were kept in the folder.
        settings: of `settings_of`.
    """
    file = _write_options(folder, name, settings)
    printed = run_trainer("trainer_easy_animate", file, 1, f"the trainer, {name}{title}")
    log = read_log(printed)
    peaks = [float(number) for number in re.findall(r"memory ([\d.]+) GB", printed)]
    return {
        "seconds": settings["clips"] / log["samples_per_second"],
        "data_share": log["data_share"],
        "peak_bytes": round(max(peaks) * 10**9),
    }


def _cache(folder, settings):
    print("keeping latents ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "scripts.cache_latents", str(_write_options(folder, "cached", settings))]
    environment = {**harness._ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=harness.ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        words = " | ".join(run.stderr.strip().splitlines()[-3:])
        raise harness.ContestantError(f"scripts.cache_latents ended with exit code {run.returncode}: {words}")


def _write_options(folder, name, settings):
    """The YAML file of a training."""
    folder = Path(folder)
    sizes = dict.fromkeys(("video_sample_size", "image_sample_size", "token_sample_size"), settings["side"])
    options = {
        "pretrained_model_name_or_path": str(folder / "model"),
        "train_data_meta": str(folder / "clips.json"),
        "train_mode": "inpaint",
        **sizes,
        "video_sample_n_frames": settings["frames"],
        "video_sample_stride": 1,
        "motion_sub_loss": True,
        "vae_mini_batch": 1,
        "max_steps": settings["steps"],
        "per_device_train_batch_size": 1,
        "learning_rate": 1.0e-5,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": 0,
        "device": "cpu",
        "disable_tqdm": True,
        "report_to": "none",
        "output_dir": str(folder / "out" / name),
        "overwrite_output_dir": True,
    }
    if name == "cached":
        options["latent_cache"] = str(folder / "latents")
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(options), encoding="utf-8")
    return file


def write(settings):
    """Write `model` and `clips` with `clips.json` into the folder of the settings."""
    import ppdiffusers_ext.models  # noqa: F401 (before paddle computes)
    from ppdiffusers_ext.data.easy_animate.synthetic import (
        caption_sets,
        make_records,
        write_captioned_clips,
        write_json_records,
    )
    from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
    from ppdiffusers_ext.training.easy_animate.caption_encoders import write_tokenizers

    folder, side = Path(settings["folder"]), settings["side"]
    (folder / "clips").mkdir()
    write_captioned_clips(folder / "clips", 0, range(settings["clips"]), 2 * settings["frames"], side)
    write_json_records(folder / "clips.json", make_records(folder / "clips", 0, settings["clips"], side))
    model = folder / "model"
    write_tokenizers(model, [text for texts in caption_sets()[0] for text in texts])
    for tokenizer in ("tokenizer", "tokenizer_2"):
        file = model / tokenizer / "tokenizer_config.json"
        options = {**json.loads(file.read_text()), "model_max_length": None}  # as many tokens as the transformer has
        file.write_text(json.dumps(options))
    shutil.copytree(SCHEDULER, model / "scheduler")
    transformer = HunyuanTransformer3D(**settings["transformer"])
    transformer.save_pretrained(str(model / "transformer"), safe_serialization=True)
    AutoencoderKLMagvit(**easy_clip.VAE, **settings["vae"]).save_pretrained(
        str(model / "vae"), safe_serialization=True
    )
    _write_encoders(model, settings)
    return {"clips": settings["clips"]}


def _write_encoders(model, settings):
    """BERT, mT5 and CLIP's network."""
    from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
    from ppdiffusers_ext.pipelines.loading import describe_image_encoder
    from ppdiffusers_ext.training.easy_animate import caption_encoders
    from ppdiffusers_ext.weights.writing import write_safetensors

    bert = {**caption_encoders._bert(caption_encoders._size_of_vocabulary(model)), **settings["text_encoder"]}
    bert["max_position_embeddings"] = 512
    t5 = {**caption_encoders._t5(caption_encoders._size_of_vocabulary_2(model)), **settings["text_encoder_2"]}
    clip = {**full_size.CLIP, **settings["image_encoder"]}
    options = {"text_encoder": bert, "text_encoder_2": t5, "image_encoder": clip}
    for name, values in options.items():
        (model / name).mkdir()
        (model / name / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (model / "image_encoder" / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    networks = make_bert(bert), make_t5(t5), describe_image_encoder(model / "image_encoder").model
    for name, network in zip(options, networks):
        arrays = {key: full_size.drawn(key, tensor) for key, tensor in network.state_dict().items()}
        write_safetensors(model / name / "model.safetensors", arrays, {"format": "pd"})


CONTESTANTS = {"write": write}
