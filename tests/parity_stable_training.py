"""The golden case of StableAnimator's training step: yields (tensor name, ours, the original's, tolerance)."""

import numpy as np
import paddle
from ppdiffusers import AutoencoderKLTemporalDecoder
from ppdiffusers.transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.stable_animator.pipeline import for_clip
from ppdiffusers_ext.training.stable_animator.model import (
    Kept,
    StableAnimatorModel,
    denoise,
    encode_clip,
    encode_reference,
    freeze,
    sigma_of,
    stratify,
    weighted_error,
)
from ppdiffusers_ext.weights.conversion import transposed_names

MODULE, PIPELINE = 1e-4, 1e-3
RELATIVE = 1e-5
EXACT = 0.0


def training_loss(case):
    args, inputs, outputs = case.config["args"], case.tensors("inputs"), case.tensors("outputs")
    table = outputs["sigma_table.sigma"].numpy()
    ours = sigma_of(inputs["sigma_table.u"].numpy())
    yield "sigma_table.sigma", ours / table, np.ones_like(table), RELATIVE
    networks = {
        "unet": AnimationUNet(**args["unet"]),
        "pose_net": PoseNet(**args["pose_net"]),
        "face_encoder": FusionFaceId(**args["face_encoder"]),
    }
    for name, network in networks.items():
        case.fill(name, network)
    vae = case.fill("vae", AutoencoderKLTemporalDecoder(**args["vae"]))
    encoder = case.fill("image_encoder", CLIPVisionModelWithProjection(CLIPVisionConfig(**args["image_encoder"])))
    model = StableAnimatorModel(**networks)
    trained = freeze(model)
    names = sorted(name.removeprefix("unet.") for name in trained if name.startswith("unet."))
    yield "trainable_unet_parameters", names, sorted(case.json("trainable_unet_parameters.json")), EXACT
    model.train()
    pixels, poses, reference = (
        inputs[name].astype("float32") / 127.5 - 1 for name in ("pixel_values", "pose_pixels", "reference_image")
    )
    batch, frames = pixels.shape[:2]
    noise = inputs["draw.vae_posterior_noise"].reshape(outputs["latents"].shape)
    latents = encode_clip(vae, pixels, noise, at_once=2)
    yield "latents", latents, outputs["latents"], MODULE
    picture = encode_reference(vae, reference, inputs["draw.cond_image_noise"], inputs["draw.vae_posterior_noise_1"])
    embedding = encoder(for_clip(reference)).image_embeds.unsqueeze(1)
    yield "image_embed", embedding, outputs["image_embed"], MODULE
    sigmas = paddle.to_tensor(sigma_of(stratify(inputs["draw.sigma_uniform"].numpy())))
    yield "sigmas", sigmas, outputs["sigmas"], MODULE
    noisy = latents + inputs["draw.latent_noise"] * sigmas.reshape([-1, 1, 1, 1, 1])
    yield "noisy_latents", noisy, outputs["noisy_latents"], MODULE
    kept = Kept.draw(inputs["draw.dropout_p"].numpy(), case.config["conditioning_dropout_prob"])
    yield "prompt_mask", 1 - kept.tokens, outputs["prompt_mask"].astype("float32"), EXACT
    yield "image_mask", kept.pictures, outputs["image_mask"], EXACT
    with paddle.enable_grad():
        prediction = model(noisy, sigmas, picture, embedding, inputs["faceid_embeds"], poses, kept)
        denoised = denoise(prediction, noisy, sigmas)
        loss = weighted_error(denoised, latents, sigmas, inputs["tgt_face_masks"].astype("float32"))
        loss.backward()
    yield "model_pred", prediction, outputs["model_pred"], MODULE
    yield "denoised_latents", denoised, outputs["denoised_latents"], MODULE
    yield "loss", loss, outputs["loss"], MODULE
    yield from _after_a_step(case, model, trained, outputs)


def _after_a_step(case, model, trained, outputs):
    parameters, options = dict(model.named_parameters()), case.config["optimizer"]
    transposed = transposed_names(model)
    of_torch = lambda name, tensor: tensor.t() if name in transposed and tensor.ndim == 2 else tensor  # noqa: E731
    for name, expected in outputs.items():
        if name.startswith("grad."):
            name = name.removeprefix("grad.")
            gradient = of_torch(name, parameters[name].grad)
            yield f"grad.{name}", gradient, expected, PIPELINE * float(expected.abs().max())
    zero = sum(float(parameters[name].grad.abs().max()) == 0 for name in trained)
    yield "parameters_with_exactly_zero_gradient", zero, case.config["parameters_with_exactly_zero_gradient"], EXACT
    for network, expected in case.config["grad_l2_norm_all"].items():
        of_network = [parameters[name].grad for name in trained if name.startswith(f"{network}.")]
        norm = float(paddle.stack([gradient.square().sum() for gradient in of_network]).sum().sqrt())
        yield f"grad_l2_norm_all.{network}", norm, expected, PIPELINE * expected
    optimizer = paddle.optimizer.AdamW(
        options["lr"],
        *options["betas"],
        options["eps"],
        parameters=[parameters[name] for name in trained],
        weight_decay=options["weight_decay"],
    )
    optimizer.step()
    for name, expected in outputs.items():
        if name.startswith("after_adamw."):
            name = name.removeprefix("after_adamw.")
            yield f"after_adamw.{name}", of_torch(name, parameters[name]), expected, MODULE
