"""The peer of `clip`: diffusers' UNetMotionModel and AutoencoderKL in torch, driven step by step.

Only the standard library is imported until the call: the peer's Python has none of this project's requirements.
"""

from benchmarks import full_size
from benchmarks.contestant import peak_bytes, timed, versions

HEADS, POSITIONS = 8, 32


def peer(settings):
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNetMotionModel

    dtype = getattr(torch, settings["dtype"])
    torch.set_num_threads(2)
    unet_options = dict(full_size.SMALL_UNET if settings["small"] else full_size.UNET)
    heads = unet_options.pop("attention_head_dim")
    vae_options = full_size.SMALL_VAE if settings["small"] else full_size.VAE
    with torch.device("meta"):
        unet = UNetMotionModel(
            **unet_options,
            num_attention_heads=heads,
            motion_num_attention_heads=HEADS,
            motion_max_seq_length=POSITIONS,
            use_motion_mid_block=True,
        )
        vae = AutoencoderKL(**vae_options)
    generator = torch.Generator().manual_seed(0)
    for model in (unet, vae):
        model.to(dtype).to_empty(device="cpu").eval()
        for name, tensor in model.state_dict().items():
            draw(name, tensor, generator)
    side = settings["side"] // 8
    scheduler = DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")

    def animate(steps):
        scheduler.set_timesteps(steps)
        latents = torch.randn([1, 4, settings["frames"], side, side], generator=generator).to(dtype)
        context = torch.zeros([2 * settings["frames"], 1, unet_options["cross_attention_dim"]], dtype=dtype)
        for timestep in scheduler.timesteps:
            unconditional, conditional = unet(torch.cat([latents] * 2), timestep, context)[0].chunk(2)
            prediction = unconditional + settings["guidance"] * (conditional - unconditional)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        frames = latents[0].transpose(0, 1) / 0.18215
        return float(torch.cat([vae.decode(part).sample for part in frames.split(4)]).float().sum())

    with torch.no_grad():
        seconds = timed(lambda: animate(settings["steps"]))
    return {
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "versions": versions("torch", "diffusers"),
    }


def draw(name, tensor, generator):
    """Fill a tensor of torch as `full_size` does, whose linear layers are (out, in)."""
    import math

    if tensor.ndim < 2:
        tensor.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    else:
        tensor.normal_(0, math.prod(tensor.shape[1:]) ** -0.5, generator=generator)


CONTESTANTS = {"peer": peer}
