"""Runners of the Animate Anyone golden cases: each yields (tensor name, ours, the original's, tolerance)."""

import numpy as np
import paddle
import PIL.Image
from ppdiffusers import AutoencoderKL
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, MotionModule, PoseGuider, ReferenceUNet
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.steps import guide
from ppdiffusers_ext.pipelines.windows import get_schedule
from ppdiffusers_ext.training.animate_anyone.model import AnimateAnyoneModel, freeze
from ppdiffusers_ext.training.latents import encode
from ppdiffusers_ext.training.losses import add_offset, mean_squared_error, min_snr_weights, signal_to_noise
from ppdiffusers_ext.weights.conversion import transposed_names

MODULE = 1e-4
PIPELINE = 1e-3
SCHEDULER = 1e-5
GRADIENT = 1e-3  # of the gradient's largest value
EXACT = 0.0


def fold(video):
    """(batch, channels, frames, height, width) -> (batch*frames, channels, height, width)."""
    return video.transpose([0, 2, 1, 3, 4]).flatten(0, 1)


def unfold(frames, num_frames):
    """(batch*frames, channels, height, width) -> (batch, channels, frames, height, width)."""
    return frames.reshape([-1, num_frames, *frames.shape[1:]]).transpose([0, 2, 1, 3, 4])


def pose_guider(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    model = case.build("pose_guider", PoseGuider)
    yield "features", model(inputs["conditioning"]), outputs["features"], MODULE


def motion_module(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    model = case.build("motion_module", MotionModule)
    num_frames = inputs["input_tensor"].shape[2]
    yield "output", unfold(model(fold(inputs["input_tensor"]), num_frames), num_frames), outputs["output"], MODULE


def _bank_names(case):
    return [entry["module"] if isinstance(entry, dict) else entry for entry in case.config["bank_order"]]


def reference_unet(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    model = case.build("reference_unet", ReferenceUNet)
    features, sample = model(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"], return_sample=True)
    yield "sample", sample, outputs["sample"], MODULE
    for i, name in enumerate(_bank_names(case)):
        yield f"bank.{i:02d}", features[name], outputs[f"bank.{i:02d}"], MODULE


def denoising_unet(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    model = case.build("denoising_unet", DenoisingUNet3D)
    arguments = inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]
    yield "sample", model(*arguments, inputs["pose_cond_fea"]), outputs["sample"], MODULE
    if "sample_without_pose" in outputs:
        yield "sample_without_pose", model(*arguments), outputs["sample_without_pose"], MODULE


def denoising_unet_with_reference(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    reference_unet = case.build("reference_unet", ReferenceUNet)
    denoising_unet = case.build("denoising_unet", DenoisingUNet3D)
    both = reference_unet(
        inputs["reference_sample"],
        case.config.get("reference_timestep", 0),
        inputs["denoising_encoder_hidden_states"],
    )
    for i, (name, expected) in enumerate(zip(_bank_names(case), case.tensors("intermediates").values())):
        yield f"bank.{i:02d}", both[name], expected, MODULE

    embedding = inputs["clip_embeds"]
    features = reference_unet(inputs["reference_latents"], 0, embedding)
    batch = inputs["denoising_sample"].shape[0] // 2
    pair = (
        inputs["denoising_sample"],
        inputs["timestep"],
        inputs["denoising_encoder_hidden_states"],
        inputs["denoising_pose_cond_fea"],
    )
    sample = denoising_unet(*pair, features, num_unconditional=batch)
    yield "sample", sample, outputs["sample"], MODULE
    rounded = denoising_unet(*pair, features.rounded_to_fp16(), num_unconditional=batch)
    yield "sample_bank_fp16", rounded, outputs["sample_bank_fp16"], MODULE
    yield "sample_guided_3p5", guide(*sample.split(2), 3.5), outputs["sample_guided_3p5"], MODULE
    alone = denoising_unet(inputs["latents"], inputs["timestep"], embedding, inputs["pose_fea"], features)
    yield "sample_no_cfg", alone, outputs["sample_no_cfg"], MODULE
    yield "sample_without_reference", denoising_unet(*pair), outputs["sample_without_reference"], MODULE


def scheduler(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    inference = make_scheduler("DDIM", case.config["scheduler"]["kwargs"])
    yield "inference.alphas_cumprod", inference.alphas_cumprod, outputs["inference.alphas_cumprod"], SCHEDULER
    yield "inference.betas", inference.betas, outputs["inference.betas"], SCHEDULER
    for steps, expected in case.json("timesteps.json").items():
        inference.set_timesteps(int(steps))
        yield f"steps{steps}.timesteps", inference.timesteps, np.array(expected["timesteps"]), EXACT
        sample, previous, original = inputs[f"steps{steps}.initial_sample"], [], []
        for timestep, model_output in zip(inference.timesteps, inputs[f"steps{steps}.model_outputs"]):
            step = inference.step(model_output, timestep, sample)
            sample = step.prev_sample
            previous.append(sample)
            original.append(step.pred_original_sample)
        yield f"steps{steps}.prev_samples", paddle.stack(previous), outputs[f"steps{steps}.prev_samples"], SCHEDULER
        expected = outputs[f"steps{steps}.pred_original_samples"]
        yield f"steps{steps}.pred_original_samples", paddle.stack(original), expected, SCHEDULER

    train = make_scheduler("DDIM", case.config["train_scheduler"]["kwargs"])
    timesteps, latents, noise = inputs["train.timesteps"], inputs["train.latents"], inputs["train.noise"]
    yield "train.alphas_cumprod", train.alphas_cumprod, outputs["train.alphas_cumprod"], SCHEDULER
    yield "train.noisy", train.add_noise(latents, noise, timesteps), outputs["train.noisy"], SCHEDULER
    yield "train.velocity", train.get_velocity(latents, noise, timesteps), outputs["train.velocity"], SCHEDULER
    alpha_bar = paddle.index_select(train.alphas_cumprod, timesteps)
    snr = alpha_bar / (1 - alpha_bar)
    # The ratio runs to a thousand, where one unit in the last place of alpha_bar is 7e-5 of it: compared relatively.
    yield "train.snr", snr / (1 + outputs["train.snr"]), outputs["train.snr"] / (1 + outputs["train.snr"]), MODULE


def context(case):
    schedule = get_schedule(case.config["function"])
    for row in case.json("windows.json"):
        arguments = [row[key] for key in ("num_frames", "context_size", "context_stride", "context_overlap")]
        options = {"step": row["step"], "closed_loop": row["closed_loop"]}
        name = "windows." + ".".join(str(value) for value in (*arguments, *options.values()))
        yield name, schedule(*arguments, **options), row["windows"], EXACT


def _pipeline(case):
    clip = case.config["image_encoder"]["kwargs"]
    known = CLIPVisionConfig().to_dict()
    clip = CLIPVisionConfig(**{key: value for key, value in clip.items() if key in known})
    scheduler = case.config["scheduler"]
    return Pose2VideoPipeline(
        vae=case.build("vae", AutoencoderKL),
        image_encoder=case.fill("image_encoder", CLIPVisionModelWithProjection(clip)),
        reference_unet=case.build("reference_unet", ReferenceUNet),
        denoising_unet=case.build("denoising_unet", DenoisingUNet3D),
        pose_guider=case.build("pose_guider", PoseGuider),
        scheduler=make_scheduler(scheduler["class_name"].split()[0].split(".")[-1], scheduler["kwargs"]),
    )


def pipeline_long(case):
    inputs, outputs, prepared = (case.tensors(name) for name in ("inputs", "outputs", "preprocessed"))
    pipeline = _pipeline(case)
    pipeline.set_progress_bar_config(disable=True)
    arguments = dict(case.config["call_arguments"])
    if arguments.pop("interpolation_factor", 1) > 1:
        raise ValueError("interpolation of latents is not supported (nor does it work in the original)")
    width, height = arguments["width"], arguments["height"]
    reference = PIL.Image.fromarray(inputs["ref_image_uint8"].numpy())
    poses = [PIL.Image.fromarray(image) for image in inputs["pose_images_uint8"].numpy()]

    pixels = pipeline.clip_image_processor.preprocess(reference.resize((224, 224)), return_tensors="pd").pixel_values
    yield "clip_pixel_values", pixels, prepared["clip_pixel_values"], SCHEDULER
    pixels = pipeline.reference_processor.preprocess(reference, height=height, width=width)
    yield "ref_pixel_values", pixels, prepared["ref_pixel_values"], SCHEDULER
    pixels = pipeline.pose_processor.preprocess(poses, height=height, width=width)
    yield "pose_pixel_values", pixels.transpose([1, 0, 2, 3]).unsqueeze(0), prepared["pose_pixel_values"], SCHEDULER
    yield "clip_embeds", pipeline.encode_clip(reference)[0], prepared["clip_embeds"], MODULE
    yield (
        "ref_image_latents",
        pipeline.encode_reference(reference, height, width),
        prepared["ref_image_latents"],
        MODULE,
    )
    yield "pose_fea", pipeline.encode_poses(poses, height, width), prepared["pose_fea"], MODULE

    steps = _RecordingScheduler(pipeline.scheduler)
    pipeline.scheduler = steps
    latents = pipeline(reference, poses, latents=inputs["initial_latents"], output_type="latent", **arguments).videos
    yield "timesteps", steps.timesteps, np.array(case.json("context_windows.json")["timesteps"]), EXACT
    yield from _window_predictions(case, pipeline, inputs, outputs, prepared)
    yield "noise_pred_per_step", paddle.stack(steps.model_outputs), outputs["noise_pred_per_step"], PIPELINE
    yield "latents_per_step", paddle.stack(steps.samples), outputs["latents_per_step"], PIPELINE
    yield "final_latents", latents, outputs["final_latents"], PIPELINE
    video = paddle.concat(list(pipeline.decode(latents))).transpose([1, 0, 2, 3]).unsqueeze(0)
    yield "video", video, outputs["video"], PIPELINE
    latents = pipeline(
        reference,
        poses,
        latents=inputs["initial_latents"],
        output_type="latent",
        fp16_reference_features=True,
        **arguments,
    ).videos
    # Rounding to fp16 is a step: features that agree to 5e-6 can still fall on two sides of it, and the latents then
    # differ by up to half of what rounding changes at all. Not rounding at all must fail.
    effect = float((outputs["final_latents_bank_fp16"] - outputs["final_latents"]).abs().max())
    yield "final_latents_bank_fp16", latents, outputs["final_latents_bank_fp16"], max(PIPELINE, 0.75 * effect)


def _window_predictions(case, pipeline, inputs, outputs, prepared):
    """The first step's predictions for each window, unguided, from the original's own intermediate tensors."""
    windows, timestep = (case.json("context_windows.json")[key] for key in ("windows_per_step", "timesteps"))
    embedding = prepared["encoder_hidden_states"][-1:]
    features = pipeline.reference_unet(prepared["ref_image_latents"], 0, embedding)
    predictions = []
    for window in windows[0]:
        index = paddle.to_tensor(window)
        latents, pose = (
            paddle.index_select(x, index, axis=2) for x in (inputs["initial_latents"], prepared["pose_fea"])
        )
        contexts = prepared["encoder_hidden_states"]
        rows = contexts.shape[0]
        latents, pose = paddle.concat([latents] * rows), paddle.concat([pose] * rows)
        predictions.append(
            pipeline.denoising_unet(latents, timestep[0], contexts, pose, features, num_unconditional=rows - 1)
        )
    yield "first_step_window_preds", paddle.stack(predictions), outputs["first_step_window_preds"], MODULE


def _training(case, stage):
    """One optimisation step of a training stage: what goes into the networks, losses and gradients."""
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    unused = ("motion_modules.",) if stage == 1 else ()  # the file is that of stage 2 as well
    model = AnimateAnyoneModel(
        case.build("reference_unet", ReferenceUNet),
        case.build("denoising_unet", DenoisingUNet3D, may_exceed=unused),
        case.build("pose_guider", PoseGuider),
    )
    trained = freeze(model, stage)
    scheduler = make_scheduler("DDIM", case.config["train_scheduler"]["kwargs"])
    yield from _training_inputs(case, inputs)
    noise, timesteps = inputs["noise"], inputs["timesteps"]
    noisy = scheduler.add_noise(inputs["latents"], noise, timesteps)
    yield "noisy_latents", noisy, inputs["noisy_latents"], SCHEDULER
    target = scheduler.get_velocity(inputs["latents"], noise, timesteps)
    yield "target", target, outputs["target"], SCHEDULER
    snr = signal_to_noise(scheduler, timesteps)
    yield "snr", snr / (1 + outputs["snr"]), outputs["snr"] / (1 + outputs["snr"]), MODULE
    yield "snr_weights", min_snr_weights(snr, 5.0), outputs["snr_weights"], MODULE
    poses = inputs["pose_pixel_values"]
    poses = poses.transpose([0, 2, 1, 3, 4]) if poses.ndim == 5 else poses.unsqueeze(2)
    for variant in sorted(name.removeprefix("loss.") for name in outputs if name.startswith("loss.")):
        flags, rounded = variant.removesuffix("_bank_fp16").split("_"), variant.endswith("_bank_fp16")
        unconditional, gamma = flags[0] == "uncond1", float(flags[1].removeprefix("gamma"))
        with paddle.enable_grad():
            prediction = model(
                noisy,
                timesteps,
                inputs["ref_image_latents"],
                inputs["clip_embeds_uncond" if unconditional else "clip_embeds_cond"],
                poses,
                unconditional=unconditional,
                fp16_reference_features=rounded,
            )
            loss = mean_squared_error(prediction, target, min_snr_weights(snr, gamma) if gamma else None)
            loss.backward()
        yield f"loss.{variant}", loss, outputs[f"loss.{variant}"], MODULE
        name = f"model_pred.{flags[0]}{'_bank_fp16' if rounded else ''}"
        yield f"{name} ({variant})", prediction, outputs[name], MODULE
        yield from _gradients(case, model, trained, outputs, variant)
        model.clear_gradients(set_to_zero=False)


def _training_inputs(case, inputs):
    """Latents, noise and embeddings, from the pixels and the draws that the original made them of."""
    vae = case.build("vae", AutoencoderKL)
    scale = case.config["vae"]["scaling_constant_used_by_pipeline"]
    pixels, latents = inputs["pixel_values"], inputs["latents"]
    frames = latents.shape[2]
    encoded = encode(vae, pixels.flatten(0, 1) if pixels.ndim == 5 else pixels, inputs["vae_posterior_noise"], scale)
    yield "latents", unfold(encoded, frames), latents, MODULE
    encoded = encode(vae, inputs["ref_pixel_values"], inputs["ref_vae_posterior_noise"], scale)
    yield "ref_image_latents", encoded, inputs["ref_image_latents"], MODULE
    noise = add_offset(inputs["base_noise"], inputs["offset_noise"], case.config["noise_offset"])
    yield "noise", noise, inputs["noise"], SCHEDULER


def _gradients(case, model, trained, outputs, variant):
    """Every stored gradient, to a part of its largest value, and the norms of all of them."""
    parameters = dict(model.named_parameters())
    transposed = transposed_names(model)
    for key, expected in outputs.items():
        if key.startswith(f"grad.{variant}."):
            name = key.removeprefix(f"grad.{variant}.")
            gradient = parameters[name].grad
            gradient = gradient.t() if name in transposed else gradient
            yield key, gradient, expected, GRADIENT * float(expected.abs().max())
    norms = case.json("all_grad_norms.json").get(variant)
    if norms is None:  # there are none of the rounded variants
        return
    yield f"trained ({variant})", np.array(sorted(trained) == sorted(norms)), np.array(True), EXACT
    without = [name for name in trained if parameters[name].grad is None]
    expected = [name for name in trained if norms.get(name) is None]
    yield f"without gradient ({variant})", np.array(without == expected), np.array(True), EXACT
    names = [name for name in trained if norms.get(name) is not None]
    ours = np.array([float(parameters[name].grad.norm()) for name in names])
    theirs = np.array([norms[name] for name in names])
    floor = 1e-4 * theirs.max()  # some gradients are zero but for rounding
    yield f"gradient norms ({variant})", ours / (theirs + floor), theirs / (theirs + floor), GRADIENT


def training_losses_stage1(case):
    return _training(case, 1)


def training_losses_stage2(case):
    return _training(case, 2)


class _RecordingScheduler:
    """A scheduler that keeps what went into and came out of its steps."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self.model_outputs, self.samples = [], []

    def __getattr__(self, name):
        return getattr(self._scheduler, name)

    def step(self, model_output, timestep, sample, eta=0.0, generator=None):
        result = self._scheduler.step(model_output, timestep, sample, eta=eta, generator=generator)
        self.model_outputs.append(model_output)
        self.samples.append(result.prev_sample)
        return result


RUNNERS = {
    "pose_guider": pose_guider,
    "motion_module": motion_module,
    "reference_unet": reference_unet,
    "denoising_unet": denoising_unet,
    "denoising_unet_with_reference": denoising_unet_with_reference,
    "scheduler": scheduler,
    "context": context,
    "pipeline_long": pipeline_long,
    "training_losses_stage1": training_losses_stage1,
    "training_losses_stage2": training_losses_stage2,
}
# Cases whose code does not exist yet; they are reported by name and do not count as failures.
NOT_YET = ()
