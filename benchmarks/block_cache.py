"""What EasyAnimate's presets cost and save, on a small transformer that is trained here first.

    python -m benchmarks block_cache

A network of random weights says nothing of caching over steps: what it predicts does not become a picture. So a small
HunyuanTransformer3D (6 blocks, 64 channels, V4's noise schedule, velocity) is trained for some minutes on clips of
moving shapes, drawn as latents, with texts that say which shape it is and where it goes. Then it samples clips with
each preset from the same noise (25 steps, Euler, guidance), in Paddle, each preset in a process of its own.

    psnr         of the latents against those of the first preset, of their range, in decibels
    whole        predictions that all blocks run for, beside those that the first preset makes
    seconds      of sampling, the median over clips
"""

import math
import tempfile

from benchmarks import harness
from benchmarks.contestant import peak_bytes, timed
from benchmarks.networks import start_paddle

PRESETS = ("exact", "balanced", "fast")
SHAPES, DIRECTIONS = 3, 4
FRAMES, SIDE = 4, 12  # of the latents
WORDS, WIDTH = 4, 32  # of a text
GUIDANCE = 4.0
DROPPED = 0.1  # part of the texts that are left out in training
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.03, "beta_schedule": "scaled_linear", "steps_offset": 1}
NETWORK = {
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "hidden_size": 64,
    "in_channels": 4,
    "sample_size": SIDE,
    "num_layers": 6,
    "cross_attention_dim": WIDTH,
    "cross_attention_dim_t5": WIDTH,
    "pooled_projection_dim": WIDTH,
    "text_len": WORDS,
    "text_len_t5": WORDS,
}


def add_arguments(parser):
    parser.add_argument("--presets", nargs="+", default=PRESETS, metavar="NAME", help="exact first (default: all)")
    parser.add_argument("--clips", type=int, default=4, metavar="N", help="clips that are sampled (default 4)")
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="denoising steps (default 25)")
    parser.add_argument("--training", type=int, default=900, metavar="N", help="steps of training (default 900)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads (default 2)")
    parser.add_argument("--weights", metavar="FILE", help="keep the trained weights there, and use those that are")


def compete(options):
    from pathlib import Path

    from ppdiffusers_ext.errors import InputError
    from ppdiffusers_ext.pipelines.presets import read_preset

    for preset in options.presets:
        read_preset(preset, "easy_animate")
    for name in ("clips", "steps", "training", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} is too small; 1 or more is accepted")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        settings = {name: getattr(options, name) for name in ("clips", "steps", "training", "threads")}
        settings["weights"] = options.weights or f"{folder}/weights.safetensors"
        fields = {"settings": settings}
        if not Path(settings["weights"]).exists():
            fields["training"] = harness.run_contestant("block_cache", "train", settings)
            print(f"trained to a loss of {fields['training']['loss']:.3f}")
        rows = {}
        for preset in options.presets:
            of_preset = {**settings, "preset": preset, "output": f"{folder}/{len(rows)}.npy"}
            rows[preset] = harness.run_contestant("block_cache", "sample", of_preset, title=preset)
            rows[preset]["psnr"] = _psnr(of_preset["output"], f"{folder}/0.npy")
    first = rows[options.presets[0]]
    harness.print_table(rows, {name: first["seconds"] / row["seconds"] for name, row in rows.items()}, "times as fast")
    for name, row in rows.items():
        row["whole"] /= first["calls"]
        print(f"{name}: {row['whole']:.0%} of the predictions whole, {row['psnr']:.1f} dB")
    return {**fields, "presets": rows}


def _psnr(path, expected):
    import numpy as np

    array, expected = np.load(path).astype("float64"), np.load(expected).astype("float64")
    error = np.mean((array - expected) ** 2)
    return 10 * math.log10((expected.max() - expected.min()) ** 2 / error) if error else math.inf


def _make():
    from ppdiffusers_ext.models.easy_animate import HunyuanTransformer3D

    return HunyuanTransformer3D(**NETWORK)


def _texts(shapes, directions):
    """Two texts for each clip, (clips, words, width) twice: a word for the shape, one for the direction, and noise."""
    import numpy as np
    import paddle

    words = np.random.default_rng(7).standard_normal((SHAPES + DIRECTIONS + WORDS, WIDTH), dtype="float32")
    rows = [[words[s], words[SHAPES + d], *words[SHAPES + DIRECTIONS : -2]] for s, d in zip(shapes, directions)]
    return tuple(paddle.to_tensor(np.array(rows) * factor) for factor in (1.0, 0.5))


def _clips(generator, shapes, directions):
    """Latents of clips, (clips, 4, frames, side, side): a shape of some colour that moves over a shaded ground."""
    import numpy as np

    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    clips = []
    for shape, direction in zip(shapes, directions):
        place, step = generator.uniform(4, SIDE - 4, 2), np.array([(0, 1), (1, 0), (0, -1), (-1, 0)][direction]) * 1.5
        colour, ground, slope = (generator.standard_normal(4) for _ in range(3))
        radius, frames = generator.uniform(2, 3.5), []
        for i in range(FRAMES):
            y, x = rows - place[0] - step[0] * (i - 1.5), columns - place[1] - step[1] * (i - 1.5)
            distance = (np.hypot(x, y), np.maximum(abs(x), abs(y)), abs(x) + abs(y))[shape]
            inside = 1 / (1 + np.exp(2 * (distance - radius)))
            behind = 0.5 * ground[:, None, None] + 0.3 * slope[:, None, None] * (rows + columns - SIDE) / SIDE
            frames.append(inside * 1.5 * colour[:, None, None] + (1 - inside) * behind)
        clips.append(np.stack(frames, axis=1))
    return np.stack(clips).astype("float32")


def train(settings, batch=8, rate=2e-3):
    start_paddle(settings)
    import numpy as np
    import paddle
    from paddle.nn.functional import mse_loss

    from ppdiffusers_ext.models.easy_animate.positions import rotations
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler
    from ppdiffusers_ext.weights.writing import write_safetensors

    paddle.seed(0)
    generator, model = np.random.default_rng(0), _make()
    alphas = make_scheduler("DDIM", {**SCHEDULE, "prediction_type": "v_prediction"}).alphas_cumprod
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(rate, settings["training"], eta_min=rate / 50)
    clip = paddle.nn.ClipGradByGlobalNorm(1.0)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=model.parameters(), weight_decay=1e-2, grad_clip=clip)
    rotation = rotations(SIDE // 2, SIDE // 2, NETWORK["attention_head_dim"], SIDE)
    masks, pixels = paddle.ones([batch, WORDS]), float(8 * SIDE)
    sizes = paddle.to_tensor([[1024.0, 1024.0, pixels, pixels, 0.0, 0.0]] * batch)
    losses = []

    def work():
        for _ in range(settings["training"]):
            kinds = generator.integers(SHAPES, size=batch), generator.integers(DIRECTIONS, size=batch)
            kept = paddle.to_tensor((generator.random((batch, 1, 1)) > DROPPED).astype("float32"))
            first, second = (text * kept for text in _texts(*kinds))
            latents = paddle.to_tensor(_clips(generator, *kinds))
            steps, noise = paddle.to_tensor(generator.integers(1000, size=batch)), paddle.randn(latents.shape)
            signal, spread = (x[steps].sqrt().reshape([-1, 1, 1, 1, 1]) for x in (alphas, 1 - alphas))
            noisy, velocity = signal * latents + spread * noise, signal * noise - spread * latents
            given = first, masks, second, masks, sizes, rotation
            loss = mse_loss(model(noisy, steps.astype("float32"), *given)[:, :4], velocity)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()
            losses.append(float(loss))

    seconds = timed(work)
    write_safetensors(
        settings["weights"], {name: x.numpy() for name, x in model.state_dict().items()}, {"format": "pd"}
    )
    return {"seconds": seconds, "loss": float(np.mean(losses[-100:])), "peak_bytes": peak_bytes()}


def sample(settings):
    """Clips of a preset: as many as asked for, of shapes and directions in turn."""
    start_paddle(settings)
    import statistics

    import numpy as np
    import paddle

    from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
    from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
    from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
    from ppdiffusers_ext.pipelines.presets import read_preset
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler
    from ppdiffusers_ext.weights.loading import load_tensors

    model = _make()
    model.set_state_dict(load_tensors(settings["weights"]))
    model.eval()
    counts = [0, 0]  # of predictions that the first and the last block had a part in
    for i, block in ((0, model.blocks[0]), (1, model.blocks[-1])):
        block.register_forward_post_hook(lambda _, __, x, i=i: counts.__setitem__(i, counts[i] + x.shape[0]))
    scheduler = make_scheduler("Euler", {**SCHEDULE, "prediction_type": "v_prediction"})
    pipeline = EasyAnimatePipeline(
        AutoencoderKLMagvit(
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            slice_mag_vae=False,
            cache_compression_vae=True,
            mini_batch_encoder=8,
            mini_batch_decoder=2,
        ),
        *[None] * 4,
        model,
        scheduler,
    )
    mask, empty = paddle.ones([1, WORDS]), paddle.zeros([1, WORDS, WIDTH])
    options = {"height": 8 * SIDE, "width": 8 * SIDE, "num_frames": 4 * FRAMES, "output_type": "latent"}
    options |= {"num_inference_steps": settings["steps"], "guidance_scale": GUIDANCE}
    options |= read_preset(settings["preset"], "easy_animate")
    clips, times = [], []
    for i in range(settings["clips"]):
        first, second = _texts([i % SHAPES], [i % DIRECTIONS])
        texts = Text(first, mask, second, mask), Text(empty, mask, empty, mask)
        noise = np.random.default_rng(i).standard_normal((1, 4, FRAMES, SIDE, SIDE), dtype="float32")
        run = lambda: clips.append(pipeline(*texts, latents=paddle.to_tensor(noise), **options).frames.numpy())  # noqa: B023, E731
        times.append(timed(run))
    np.save(settings["output"], np.concatenate(clips))
    seconds = statistics.median(times)
    return {"seconds": seconds, "calls": counts[0], "whole": counts[1], "peak_bytes": peak_bytes()}


CONTESTANTS = {"train": train, "sample": sample}
