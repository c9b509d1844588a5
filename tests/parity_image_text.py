"""Runners of the golden cases of CLIP and SigLIP: each yields (tensor name, ours, transformers', tolerance)."""

import tempfile
from pathlib import Path

import numpy as np

from ppdiffusers_ext.data.chain.network_files import CLIP, FILES
from ppdiffusers_ext.data.chain.networks import Clip, ClipTokenizer, clip_pixels, siglip_pixels
from ppdiffusers_ext.models.siglip import SiglipVisionModel
from tests.data.chain.small_networks import write_networks

EXACT = 0.0
PIXELS = 2e-6  # of values from -2 to 2
FEATURES = 1e-5


def clip(case):
    inputs, outputs = case.tensors("inputs"), case.tensors("outputs")
    texts = case.json("texts.json")
    tokenizer = ClipTokenizer(case.folder, inputs["input_ids"].shape[1])
    yield "input_ids", np.concatenate([tokenizer(text) for text in texts]), inputs["input_ids"].numpy(), EXACT
    image, pixels = inputs["image"].numpy(), inputs["pixel_values"].numpy()
    images = [image, np.ascontiguousarray(image.transpose(1, 0, 2))]
    size = pixels.shape[-1]
    yield "pixel_values", np.stack([clip_pixels(frame, size) for frame in images]), pixels, PIXELS
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder), case.folder.parent)
        network = Clip(Path(folder) / FILES[CLIP][0], with_texts=True)
    yield "image_embeds", network.images(pixels), _unit(outputs["image_embeds"]), FEATURES
    yield "text_embeds", np.stack([network.text(text) for text in texts]), _unit(outputs["text_embeds"]), FEATURES


def siglip(case):
    inputs = case.tensors("inputs")
    pixels = inputs["pixel_values"]
    yield "pixel_values", siglip_pixels(inputs["image"].numpy(), pixels.shape[-1])[None], pixels.numpy(), PIXELS
    pooled = case.build("model", SiglipVisionModel)(pixels)
    yield "pooler_output", pooled.numpy(), case.tensors("outputs")["pooler_output"].numpy(), FEATURES


def _unit(tensor):
    return tensor.numpy() / np.linalg.norm(tensor.numpy(), axis=-1, keepdims=True)


RUNNERS = {"clip": clip, "siglip": siglip}
NOT_YET = ()
