"""The contestant of `train_step` in torch: Animate Anyone's training step, made of diffusers' networks.

As the original (MooreThreads/Moore-AnimateAnyone) does it with Stable Diffusion's UNets: what the self-attentions of
the reference UNet see is kept, repeated for every frame, and seen by those of the denoising UNet behind their own
tokens. Only the Python that has torch imports this module.
"""

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn
from torch.nn import functional

from benchmarks.contestant import versions
from benchmarks.networks import HEADS
from benchmarks.training_networks import (
    INPUTS,
    LEARNING_RATE,
    POSE_WIDTHS,
    WEIGHT_DECAY,
    describe,
    inputs,
    weight,
)


class PoseGuider(nn.Module):
    """The convolutions of ppdiffusers_ext's `PoseGuider`, under its names."""

    def __init__(self, channels):
        super().__init__()
        self.conv_in = nn.Conv2d(3, POSE_WIDTHS[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, next_width in zip(POSE_WIDTHS, POSE_WIDTHS[1:]):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, next_width, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(POSE_WIDTHS[-1], channels, 3, padding=1)

    def forward(self, pixels):
        x = functional.silu(self.conv_in(pixels))  # (batch*frames, widths[0], height, width)
        for block in self.blocks:
            x = functional.silu(block(x))  # (batch*frames, width, height / 2^k, width / 2^k)
        return self.conv_out(x)  # (batch*frames, channels, height / 8, width / 8)


class Writer(AttnProcessor2_0):
    """Self-attention that keeps the tokens it sees, behind their norm: (batch, tokens, channels)."""

    def __init__(self, name, kept):
        super().__init__()
        self.name, self.kept = name, kept

    def __call__(self, attn, hidden_states, *arguments, **others):
        self.kept[self.name] = hidden_states
        return super().__call__(attn, hidden_states, *arguments, **others)


class Reader(AttnProcessor2_0):
    """Self-attention whose keys and values are its own tokens and those that the `Writer` of its name has kept."""

    def __init__(self, name, kept):
        super().__init__()
        self.name, self.kept = name, kept

    def __call__(self, attn, hidden_states, *arguments, **others):
        reference = self.kept.pop(self.name)
        reference = reference.repeat_interleave(hidden_states.shape[0] // reference.shape[0], dim=0)
        return super().__call__(attn, hidden_states, torch.cat([hidden_states, reference], dim=1))


class AnimateAnyone(nn.Module):
    """The three networks under the names and with the arguments of ppdiffusers_ext's `AnimateAnyoneModel`."""

    def __init__(self, settings):
        super().__init__()
        keys = ("block_out_channels", "layers_per_block", "cross_attention_dim")
        options = {key: settings[key] for key in keys}
        self.reference_unet = UNet2DConditionModel(**options, attention_head_dim=HEADS)
        self.reference_unet.conv_norm_out, self.reference_unet.conv_out = None, nn.Identity()
        if settings["stage"] == 1:
            self.denoising_unet = UNet2DConditionModel(**options, attention_head_dim=HEADS)
        else:
            self.denoising_unet = UNetMotionModel(
                **options,
                num_attention_heads=HEADS,
                motion_num_attention_heads=HEADS,
                motion_max_seq_length=settings["motion_max_seq_length"],
            )
        self.pose_guider = PoseGuider(settings["block_out_channels"][0])
        self.kept = {}  # what the reference UNet's attentions have seen, until the denoising UNet's take it
        self.attentions = [self._connect(self.reference_unet, Writer), self._connect(self.denoising_unet, Reader)]
        self._pose_features = None
        self.denoising_unet.conv_in.register_forward_hook(lambda layer, given, x: x + self._pose_features)

    def _connect(self, network, processor):
        """Give each spatial self-attention a processor; motion modules have an attn1 too. Returns their number."""
        modules = dict(network.named_modules())
        names = [name for name in modules if name.endswith(".attn1") and ".attentions." in name]
        for name in names:
            modules[name].set_processor(processor(name, self.kept))
        return len(names)

    def forward(self, noisy_latents, timesteps, reference_latents, image_embedding, pose_pixels):
        self.reference_unet(reference_latents, 0, image_embedding)
        self._pose_features = self.pose_guider(pose_pixels.transpose(1, 2).flatten(0, 1))
        if isinstance(self.denoising_unet, UNetMotionModel):
            # This class wants the context once for each frame.
            context = image_embedding.repeat_interleave(noisy_latents.shape[2], dim=0)
            prediction = self.denoising_unet(noisy_latents, timesteps, context).sample
        else:
            prediction = self.denoising_unet(noisy_latents.squeeze(2), timesteps, image_embedding).sample.unsqueeze(2)
        if self.kept:
            raise RuntimeError(f"the denoising UNet has not seen the reference features {sorted(self.kept)}")
        return prediction


def make(settings):
    """The `AnimateAnyone` of a stage with its tensors frozen, and those that learn."""
    model = AnimateAnyone(settings).train()
    learning = []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weight(name, tuple(parameter.shape))))
            frozen = name.startswith("reference_unet.up_blocks.3.")
            parameter.requires_grad = "motion_modules." in name if settings["stage"] == 2 else not frozen
            if parameter.requires_grad:
                learning.append(parameter)
    return model, learning


def diffusers_training(settings):
    torch.set_num_threads(settings["threads"])
    model, learning = make(settings)
    tensors = {name: torch.from_numpy(array) for name, array in inputs(settings).items()}
    optimizer = torch.optim.AdamW(learning, LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def backward():
        loss = functional.mse_loss(model(*(tensors[name] for name in INPUTS)), tensors["target"])
        loss.backward()
        return loss

    def step():
        loss = backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    row = describe(step, model, settings, learning)
    backward()
    row["tensors_without_gradient"] = sum(parameter.grad is None for parameter in learning)
    row["versions"] = versions("torch", "diffusers")
    return row


CONTESTANTS = {"diffusers": diffusers_training}
