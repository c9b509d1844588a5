"""What the model_index.json of a published folder may name, of all versions of EasyAnimate.

Names of parts and their classes are those of the original's pipelines (aigc-apps/EasyAnimate at e4f1a4f,
`easyanimate/pipeline`). The index of V5.1, the one that could be looked at, has the library "diffusers" for the
original's classes too; those of V1 to V4 could not: as `register_modules` writes them is accepted beside it. Parts are
read by what their own configurations say; see `loading`.
"""

from pathlib import Path
from typing import Any

from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.pipelines.model_index import CLIP, DIFFUSERS, INDEX, OURS, SCHEDULER, TRANSFORMERS

# What diffusers' `register_modules` notes for the original's own classes: the module's whole name.
_ORIGINAL = ("easyanimate.models.transformer3d", "easyanimate.models.autoencoder_magvit")
_TOKENIZERS = (
    "BertTokenizer",
    "BertTokenizerFast",
    "T5Tokenizer",
    "T5TokenizerFast",
    "MT5Tokenizer",
    "MT5TokenizerFast",
)
_T5 = ("T5EncoderModel", "MT5EncoderModel")
_TRANSFORMER_CLASSES = ("HunyuanTransformer3DModel", "Transformer3DModel", "Transformer2DModel", "HunyuanDiT2DModel")
_CLIP_PICTURES = {TRANSFORMERS: ("CLIPImageProcessor", "CLIPFeatureExtractor"), OURS: ("PictureProcessor",)}
PARTS = {
    "vae": {(*DIFFUSERS, *OURS, *_ORIGINAL): ("AutoencoderKLMagvit", "AutoencoderKL")},
    "text_encoder": {TRANSFORMERS: ("BertModel", *_T5)},
    "text_encoder_2": {TRANSFORMERS: _T5},
    "tokenizer": {TRANSFORMERS: _TOKENIZERS, OURS: ("BertTokenizer", "T5Tokenizer")},
    "tokenizer_2": {TRANSFORMERS: _TOKENIZERS, OURS: ("BertTokenizer", "T5Tokenizer")},
    "transformer": {
        (*DIFFUSERS, *_ORIGINAL): _TRANSFORMER_CLASSES,
        OURS: ("HunyuanTransformer3D", "PixArtTransformer3D"),
    },
    "scheduler": SCHEDULER,
    "image_encoder": CLIP,
    "clip_image_encoder": CLIP,
    "image_processor": _CLIP_PICTURES,
    "clip_image_processor": _CLIP_PICTURES,
    "feature_extractor": _CLIP_PICTURES,
    "safety_checker": {},
}


def saved_index(folder: Path) -> dict[str, Any]:
    """The model_index.json of a folder, if `save_pretrained` wrote it: a dict, or {}."""
    if not (folder / INDEX).is_file():
        return {}
    index = read_json(folder / INDEX, "pipeline index", "that of a pipeline is needed")
    parts: list[Any] = [index.get(name) for name in ("transformer", "scheduler")] if isinstance(index, dict) else []
    are_pairs = all(isinstance(pair, list) and len(pair) == 2 for pair in parts)
    return index if parts and are_pairs and parts[0][0] in OURS else {}
