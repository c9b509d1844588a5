"""Runners of the StableAnimator golden cases: each yields (tensor name, ours, the original's, tolerance)."""

from dataclasses import replace

import cv2
import numpy as np
import paddle
import PIL.Image
from paddle import nn
from ppdiffusers import AutoencoderKLTemporalDecoder
from ppdiffusers.models.attention_processor import Attention
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.skeletons import Pose, SkeletonPainter, Style
from ppdiffusers_ext.data.stable_animator.face_boxes import box_of_mask, read_boxes, read_mask
from ppdiffusers_ext.models.borrowed import PlainAttention
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, IResNet, PoseNet
from ppdiffusers_ext.models.stable_animator.arcface import crop_face
from ppdiffusers_ext.models.stable_animator.attention import FaceAttention
from ppdiffusers_ext.pipelines.schedulers import make_scheduler
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.stable_animator.refinement import (
    FaceRefinement,
    clean_latents,
    embed_reference,
    velocity,
)
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import tile_weights, time_tiles
from ppdiffusers_ext.preprocess import detection, pose
from ppdiffusers_ext.preprocess.alignment import fit_original
from ppdiffusers_ext.preprocess.extraction import STYLES
from tests.parity_stable_training import EXACT, MODULE, PIPELINE, RELATIVE, training_loss

SENSITIVITY = 8e-3  # by which latents move in the mean if the noise that they come from does by 1e-6 of itself
ROUNDING_OF_FLOAT = 1e-6
ROUNDING = 1e-12  # of float64


def arrays(case, name):
    return {key: tensor.numpy() for key, tensor in case.tensors(name).items()}


def picture(case, name):
    """(H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(cv2.imread(str(case.folder / f"{name}.png"))[..., ::-1])


def _by_hand(hands):
    """All left and then all right hands -> (people, 2, ...), and back."""
    return np.swapaxes(hands.reshape(2, -1, *hands.shape[1:]), 0, 1)


def _in_a_row(hands):
    return np.swapaxes(hands, 0, 1).reshape(-1, *hands.shape[2:])


def read_pose(inputs, name):
    return Pose(
        inputs[f"{name}.body_candidate"].reshape(-1, 18, 2),
        inputs[f"{name}.body_score"],
        _by_hand(inputs[f"{name}.hands"]),
        _by_hand(inputs[f"{name}.hands_score"]),
        inputs[f"{name}.faces"],
        inputs[f"{name}.faces_score"],
    )


def subset(of_pose):
    """The original's table of joints: the row of each that is seen, -1 elsewhere."""
    visible = of_pose.visible()
    return np.where(visible, np.arange(visible.size).reshape(visible.shape), -1)


def dwpose_draw(case):
    inputs, outputs = arrays(case, "inputs"), arrays(case, "outputs")
    yield from _draw(case, inputs, outputs)
    yield from _align(case, inputs, outputs)
    converted = pose.to_pose(inputs["convert.keypoints"], inputs["convert.scores"], inputs["convert.image_hw"])
    for name, ours in (
        ("body_candidate", converted.body.reshape(-1, 2)),
        ("body_score", converted.body_scores),
        ("body_subset", subset(converted)),
        ("faces", converted.face),
        ("faces_score", converted.face_scores),
        ("hands", _in_a_row(converted.hands)),
        ("hands_score", _in_a_row(converted.hands_scores)),
    ):
        yield f"convert.{name}", ours, outputs[f"convert.{name}"], EXACT
    yield from _detect(case, inputs, outputs)
    yield from _estimate(case, inputs, outputs)


def _draw(case, inputs, outputs):
    for drawing in case.config["draw"]:
        name = drawing["name"]
        for suffix, side in (("", case.config["ref_w"]), ("_ref_w_256", 256)):
            painter = SkeletonPainter(drawing["H"], drawing["W"], Style(side, weighted=True, compatible=True))
            ours = painter(read_pose(inputs, f"draw.{name}"))
            # What the original returns has its channels swapped; what it saves has them right.
            swapped = ours[..., ::-1].transpose(2, 0, 1)
            yield f"draw.{name}.returned{suffix}", swapped, outputs[f"draw.{name}.returned{suffix}"], EXACT
            if not suffix:
                yield f"draw_{name}.png", ours, picture(case, f"draw_{name}"), EXACT


def _align(case, inputs, outputs):
    config = case.config["align"]
    frames = [read_pose(inputs, f"align.frame{i}") for i in range(config["num_frames"])]
    alignment = fit_original(read_pose(inputs, "align.ref"), frames)
    yield "align.scale_xy", alignment.scale, outputs["align.scale_xy"], ROUNDING
    yield "align.offset_xy", alignment.offset, outputs["align.offset_xy"], ROUNDING
    style = Style(STYLES["stable_animator"].canvas_side, weighted=True, compatible=True)
    painter = SkeletonPainter(config["ref_height"], config["ref_width"], style)
    for i, frame in enumerate(frames):
        aligned = alignment(frame)
        ours = {
            "body_candidate": aligned.body.reshape(-1, 2),
            "faces": aligned.face,
            "hands": _in_a_row(aligned.hands),
        }
        for name, values in ours.items():
            yield f"align.frame{i}.{name}", values, outputs[f"align.frame{i}.{name}"], ROUNDING
        drawn = painter(aligned)
        yield f"align.images.{i}", drawn[..., ::-1].transpose(2, 0, 1), outputs["align.images"][i], EXACT
        yield f"align_frame_{i}.png", drawn, picture(case, f"align_frame_{i}"), EXACT


def _detect(case, inputs, outputs):
    size = tuple(case.config["detector_input_hw"])
    letterboxed, ratio = detection.letterbox(picture(case, "estimator_image"), size)
    yield "det_network_input.png", letterboxed.transpose(1, 2, 0), picture(case, "det_network_input"), EXACT
    rows = np.tile(inputs["det.default_row"], (8400, 1))
    rows[inputs["det.rows"]] = inputs["det.row_values"]
    yield "det.boxes", detection.find_people(rows, ratio, size), outputs["det.boxes"], EXACT


def _estimate(case, inputs, outputs):
    frame, seen = picture(case, "estimator_image"), []

    def network(pictures):
        seen.append(pictures)
        return [np.repeat(inputs[f"pose.simcc_{axis}"], len(pictures), axis=0) for axis in "xy"]

    network.size = tuple(case.config["pose_network_input_hw"])
    points, scores = pose.estimate(network, [frame], [inputs["pose.boxes"]])
    yield "pose.network_inputs", seen[0], outputs["pose.network_inputs"], EXACT
    yield "pose.keypoints", points, outputs["pose.keypoints"], ROUNDING
    yield "pose.scores", scores, outputs["pose.scores"], EXACT
    points, scores = pose.estimate(network, [frame], [pose.whole_frame(frame)])
    yield "pose.no_box.network_input", seen[1], outputs["pose.no_box.network_input"], EXACT
    yield "pose.no_box.keypoints", points, outputs["pose.no_box.keypoints"], ROUNDING
    yield "pose.no_box.scores", scores, outputs["pose.no_box.scores"], EXACT


def pose_net(case):
    model = case.fill("pose_net", PoseNet(**case.config["args"]))
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    for name, expected in outputs.items():
        yield name, model(inputs[name.replace("out", "x")]), expected, MODULE


def face_encoder(case):
    model = case.fill("face_encoder", FusionFaceId(**case.config["args"]))
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    face, clip = inputs["id_embeds"], inputs["clip_embeds"]
    yield "out", model(face, clip), outputs["out"], MODULE
    yield "out_shortcut", model(face, clip, shortcut=True, scale=0.7), outputs["out_shortcut"], MODULE
    yield "out_zero_id", model(paddle.zeros_like(face), clip), outputs["out_zero_id"], MODULE


def attn_processor(case):
    model, config = nn.Layer(), case.config
    width, context, heads = (config[key] for key in ("query_dim", "cross_attention_dim", "heads"))
    for name in config["processors"]:
        of_context = None if name.endswith("attn1") else context
        layer = Attention(width, of_context, heads, config["dim_head"], processor=PlainAttention())
        if name == "attn2":
            layer.set_processor(FaceAttention(layer.inner_dim, context, config["num_tokens"]))
        setattr(model, name, layer)
    case.fill("attn", model)
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    for name, expected in outputs.items():
        layer = "temporal_attn" if name.startswith("temporal") else "attn"
        layer = getattr(model, layer + name.partition("attn")[2][0])
        hidden = inputs["temporal_hidden" if name.startswith("temporal") else "hidden"]
        tokens = {"1img": "enc_1img", "5img": "enc_5img", "1": "temporal_enc_1", "3": "temporal_enc_3"}
        given = inputs.get(tokens.get(name.partition("attn2_")[2].partition("_")[0]))
        if "scale035" in name:
            layer.processor.scale = 0.35
        yield name, layer(hidden, encoder_hidden_states=given), expected, MODULE
        if name == "attn2_1img_scale035":
            layer.processor.scale = 1.0


def _keep_in(outputs, name):
    """A hook that keeps a layer's output, or the first of them."""

    def keep(layer, given, out):
        outputs[name] = out[0] if isinstance(out, tuple) else out

    return keep


def unet_id_adapter(case):
    model = case.fill("unet", AnimationUNet(**case.config["args"], num_face_tokens=case.config["num_face_tokens"]))
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    ours, hooks = {}, []
    for name, layer in model.named_sublayers():
        if f"inner.{name}" in outputs:
            hooks.append(layer.register_forward_post_hook(_keep_in(ours, f"inner.{name}")))
    common = inputs["encoder_hidden_states"], inputs["added_time_ids"]
    ours["sample"] = model(inputs["sample"], inputs["timestep"], *common, inputs["pose_latents"])
    for hook in hooks:
        hook.remove()
    ours["sample_no_pose"] = model(inputs["sample"], inputs["timestep"], *common)
    ours["sample_per_batch_timestep"] = model(
        inputs["sample"], inputs["timestep_per_batch"], *common, inputs["pose_latents"]
    )
    for name, expected in outputs.items():
        yield name, ours[name], expected, MODULE


def scheduler(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    ours = make_scheduler("Euler", case.config["args"])

    def row(name, value):
        return name, value, outputs[name], RELATIVE * max(1e-30, float(outputs[name].abs().max()))

    yield row("before_set.init_noise_sigma", ours.init_noise_sigma)
    for count in case.config["step_counts"]:
        ours.set_timesteps(count)
        for name in ("timesteps", "sigmas", "init_noise_sigma"):
            yield row(f"n{count}.{name}", getattr(ours, name))
        x, steps = inputs["noise"] * ours.init_noise_sigma, {}
        for output, timestep in zip(inputs[f"n{count}.model_outputs"], ours.timesteps):
            steps.setdefault("scaled_inputs", []).append(ours.scale_model_input(x, timestep))
            step = ours.step(output, timestep, x)
            x = step.prev_sample
            steps.setdefault("samples", []).append(x)
            steps.setdefault("pred_original", []).append(step.pred_original_sample)
        for name, values in steps.items():
            for i, value in enumerate(values):  # each relative to its own largest: the first are 700 times the last
                expected = outputs[f"n{count}.{name}"][i]
                yield f"n{count}.{name}.{i}", value, expected, RELATIVE * float(expected.abs().max())


def temporal_tiling(case):
    for given, expected in zip(case.json("inputs.json"), case.json("outputs.json")):
        name, numbers = "-".join(map(str, given.values())), tuple(given.values())
        if "error" in expected or expected["uncovered_frames"]:
            continue  # where the original crashes, or divides zero by zero, ours does something else
        windows = time_tiles(*numbers)
        yield f"{name}.windows", windows, expected["windows"], EXACT
        weights, sums = tile_weights(given["tile_size"]), np.zeros(given["num_frames"], np.float32)
        for window in windows:
            sums[window] += weights
        yield f"{name}.weight", weights, expected["weight"], ROUNDING_OF_FLOAT
        yield f"{name}.per_frame_weight_sum", sums, expected["per_frame_weight_sum"], 10 * ROUNDING_OF_FLOAT
        noise = [frame % given["tile_size"] for frame in range(given["num_frames"])]
        yield f"{name}.initial_noise_frame", noise, expected["initial_noise_frame"], EXACT


def vae(case):
    model = case.fill("vae", AutoencoderKLTemporalDecoder(**case.config["args"]))
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    encoded = [model.encode(picture.unsqueeze(0)).latent_dist for picture in inputs["images"]]
    for name, values in (
        ("mean", [x.mean for x in encoded]),
        ("logvar", [x.logvar for x in encoded]),
        ("mode", [x.mode() for x in encoded]),
    ):
        yield f"encode_{name}", paddle.concat(values), outputs[f"encode_{name}"], MODULE
    latents, factor = inputs["latents"][0], case.config["args"]["scaling_factor"]
    for size in case.config["decode_chunk_sizes"]:
        chunks = [latents[i : i + size] / factor for i in range(0, len(latents), size)]
        frames = paddle.concat([model.decode(chunk, num_frames=len(chunk)).sample for chunk in chunks])
        ours = frames.transpose([1, 0, 2, 3]).unsqueeze(0)
        yield f"decode_chunk{size}", ours, outputs[f"decode_chunk{size}"], MODULE
    count = len(latents)
    yield "raw_decode_all", model.decode(latents, num_frames=count).sample, outputs["raw_decode_all"], MODULE
    both = paddle.concat([latents, latents.flip(0)])
    yield "raw_decode_two_videos", model.decode(both, count).sample, outputs["raw_decode_two_videos"], MODULE


def make_pipeline(case):
    args = case.config["args"]
    parts = {
        "vae": AutoencoderKLTemporalDecoder(**args["vae"]),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**args["image_encoder"])),
        "unet": AnimationUNet(**args["unet"]),
        "pose_net": PoseNet(**args["pose_net"]),
        "face_encoder": FusionFaceId(**args["face_encoder"]),
    }
    for name, model in parts.items():
        case.fill(name, model)
    pipeline = StableAnimatorPipeline(**parts, scheduler=make_scheduler("Euler", case.config["scheduler"]))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pipeline_basic(case):
    pipeline, inputs = make_pipeline(case), case.tensors("inputs")
    outputs = case.tensors("outputs")
    reference = PIL.Image.open(case.folder / "reference.png").convert("RGB")
    # As they were resized by Pillow 13, whose bicubic differs from that of the versions that are accepted here.
    poses = list(inputs["pose_pixels_after_resize"].numpy())
    embedding = pipeline.encode_clip(reference)
    yield "clip_image_embeds", embedding, outputs["clip_image_embeds"], MODULE
    face = pipeline.encode_face(inputs["face_embedding"].numpy(), embedding)
    yield "face_tokens", face, outputs["face_tokens"], MODULE
    context = paddle.concat([embedding.unsqueeze(1), face], axis=1)
    yield "context_cond", context, outputs["context_cond"], MODULE
    for run, name in (("main", "outputs"), ("ramp", "outputs_ramp")):
        yield from _run_of_pipeline(case, pipeline, reference, poses, run, case.tensors(name))


def _run_of_pipeline(case, pipeline, reference, poses, run, outputs):
    inputs, options, common = case.tensors("inputs"), dict(case.config["runs"][run]), case.config["call_common"]
    size = common["height"], common["width"]
    picture = pipeline.encode_picture(reference, *size, inputs["image_noise"], options["noise_aug_strength"])
    yield f"{run}.image_latents", picture, outputs["image_latents"], MODULE
    chunk = options.pop("decode_chunk_size") or common["num_frames"]
    after = []

    def keep(pipeline, step, timestep, given):
        after.append(given["latents"])

    latents = pipeline(
        reference,
        poses,
        inputs["face_embedding"].numpy(),
        **{key: common[key] for key in ("width", "height", "tile_size", "tile_overlap")},
        **options,
        latents=inputs["initial_latents"],
        image_noise=inputs["image_noise"],
        output_type="latent",
        callback_on_step_end=keep,
    ).frames
    yield f"{run}.timesteps", pipeline.scheduler.timesteps, outputs["timesteps"], MODULE
    for step, (ours, expected) in enumerate(zip(after, outputs["latents_after_step"])):
        # Latents begin 700 times as large as they end.
        yield f"{run}.latents_after_step.{step}", ours, expected, PIPELINE * max(1.0, float(expected.abs().max()) / 10)
    yield f"{run}.final_latents", latents, outputs["final_latents"], PIPELINE
    if "decoded_frames" in outputs:
        frames = paddle.concat(list(pipeline.decode(latents, chunk)))  # (frames, 3, height, width)
        expected = (outputs["decoded_frames"][0].transpose([1, 0, 2, 3]) / 2 + 0.5).clip(0, 1)
        yield f"{run}.decoded_frames", frames, expected, PIPELINE
        # A level of 8 bits more or less, where a number lies between two.
        levels = (frames.transpose([0, 2, 3, 1]) * 255).round()
        yield f"{run}.frames_uint8", levels, outputs["frames_uint8"].astype("float32"), 1.0


def pipeline_hjb(case):
    recognizer = case.config["args"]["face_embedding_extractor"]
    recognizer = IResNet(*(recognizer[key] for key in ("layers", "planes", "num_features")))
    recognizer = case.fill("face_embedding_extractor", recognizer)
    inputs, outputs, call = case.tensors("inputs"), case.tensors("outputs"), case.config["call"]
    yield (
        "face_extractor_probe_out",
        recognizer(inputs["face_extractor_probe"]),
        outputs["face_extractor_probe_out"],
        MODULE,
    )
    reference, size = picture(case, "reference"), (call["height"], call["width"])
    box = box_of_mask(read_mask(case.folder / "reference_mask.png", reference.shape[:2]))
    crop = crop_face(paddle.to_tensor(reference.astype("float32").transpose(2, 0, 1)[None]) / 127.5 - 1, box)
    yield "reference_face_crop", crop, outputs["reference_face_crop"], MODULE
    embedding = embed_reference(recognizer, reference, box)
    yield "reference_face_embedding", embedding, outputs["reference_face_embedding"], MODULE
    boxes = read_boxes(case.folder / "faces", call["num_frames"], size)
    yield "target_face_boxes", np.array(boxes), outputs["target_face_boxes_ymin_ymax_xmin_xmax"], EXACT
    refinement = FaceRefinement(
        recognizer,
        embedding,
        boxes,
        call["start_refine_step"],
        call["end_refine_step"],
        call["num_optimization_iter"],
    )
    pipeline, steps, chunk = make_pipeline(case), call["num_inference_steps"], call["decode_chunk_size"]
    pipeline.scheduler.set_timesteps(steps)
    for step in range(steps):
        yield from _step_of_hjb(case, pipeline, refinement, step, steps, chunk)
    # As it was resized by Pillow 13, whose Lanczos differs by two levels from that of the versions accepted here.
    resized = case.folder / "reference_after_resize.png"
    if resized.exists():
        yield from _whole_hjb(case, pipeline, reference, PIL.Image.open(resized), refinement)


def _step_of_hjb(case, pipeline, refinement, step, steps, chunk):
    outputs = {
        name.partition(".")[2]: value
        for name, value in case.tensors("outputs").items()
        if name.startswith(f"step{step}.")
    }
    before, prediction = outputs["latents_before"], outputs["model_output"]
    sensitivity = [row["max_abs"] for row in case.config["sensitivity_refined_steps"] if row["step"] == step]
    allowed = max(sensitivity, default=0.0)
    if refinement.applies(step):
        sigma = float(pipeline.scheduler.sigmas[step])
        clean = clean_latents(prediction, before, sigma)
        yield f"step{step}.x0_before", clean, outputs["x0_before"], MODULE
        given = outputs["x0_before"]
        for iteration in range(refinement.iterations):
            name = f"iter{iteration}"
            expected = outputs[f"{name}.grad"]
            cosines, gradient = _gradient(refinement, pipeline.vae, given, expected, chunk)
            loss = np.mean([abs(1 - cosine) for cosine in cosines])
            yield f"step{step}.{name}.loss", loss, outputs[f"{name}.loss"], MODULE
            yield f"step{step}.{name}.cosine", np.array(cosines), outputs[f"{name}.cosine"].numpy(), MODULE
            yield f"step{step}.{name}.grad", gradient, expected, PIPELINE * float(expected.abs().max())
            given = outputs[f"{name}.x0"]
        refined = refinement.refine(outputs["x0_before"], pipeline.vae, step, steps, chunk)
        yield f"step{step}.x0", refined, given, allowed
        prediction = velocity(refined, before, sigma)
    after = pipeline.scheduler.step(prediction, pipeline.scheduler.timesteps[step], before).prev_sample
    expected = outputs["latents_after"]
    yield f"step{step}.latents_after", after, expected, allowed + RELATIVE * float(expected.abs().max())


def _gradient(refinement, vae, clean, expected, chunk):
    """Cosines, and the gradient at these latents or, if that is over its tolerance, at some within rounding of them.

    The gradient jumps where an input of a PReLU changes its sign. In step 2, one of 300,000 in the recogniser's first
    layer is 6e-8: which side it comes to lie on is a matter of the order of additions.
    """
    paddle.seed(0)
    for noise in [0.0] + 8 * [1e-6]:
        leaf = clean * (1 + noise * paddle.randn(clean.shape))
        leaf.stop_gradient = False
        with paddle.enable_grad():
            cosines = refinement.backward(leaf, vae, chunk)
        if float((leaf.grad - expected).abs().max()) <= PIPELINE * float(expected.abs().max()):
            break
    return cosines, leaf.grad


def _whole_hjb(case, pipeline, reference, resized, refinement):
    """From the noise to frames: by losses and by means, since single numbers are chaotic (the case's README)."""
    inputs, outputs, call = case.tensors("inputs"), case.tensors("outputs"), case.config["call"]
    refinement, encode = replace(refinement, history=[]), pipeline.encode_picture
    pipeline.encode_picture = lambda image, *arguments: encode(resized, *arguments)
    names = ("height", "width", "tile_size", "tile_overlap", "decode_chunk_size", "motion_bucket_id", "fps")
    names += ("min_guidance_scale", "max_guidance_scale", "noise_aug_strength", "num_inference_steps")
    latents = pipeline(
        PIL.Image.fromarray(reference),
        [PIL.Image.fromarray(image) for image in open_frames(case.folder / "poses")],
        inputs["face_embedding"].numpy(),
        **{name: call[name] for name in names},
        latents=inputs["initial_latents"],
        image_noise=inputs["image_noise"],
        refinement=refinement,
        output_type="latent",
    ).frames
    for entry in refinement.history:
        name = f"step{entry['step']}.iter{entry['iteration']}.loss"
        yield f"whole.{name}", entry["loss"], outputs[name], PIPELINE
    error = float((latents - outputs["final_latents"]).abs().mean())
    yield "whole.final_latents_mean_error", error, 0.0, SENSITIVITY


RUNNERS = {
    "attn_processor": attn_processor,
    "dwpose_draw": dwpose_draw,
    "face_encoder": face_encoder,
    "pipeline_basic": pipeline_basic,
    "pipeline_hjb": pipeline_hjb,
    "pose_net": pose_net,
    "scheduler": scheduler,
    "temporal_tiling": temporal_tiling,
    "training_loss": training_loss,
    "unet_id_adapter": unet_id_adapter,
    "vae": vae,
}
NOT_YET = ()
