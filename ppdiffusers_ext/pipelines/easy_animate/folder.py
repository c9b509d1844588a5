"""What the model_index.json of a published folder may name, of all versions of EasyAnimate.

Its parts are read by what their own configurations say; see `loading`.
"""

from ppdiffusers_ext.pipelines.model_index import CLIP, DIFFUSERS, OURS, SCHEDULER, TRANSFORMERS

_ORIGINAL = (
    "easyanimate",
    "easyanimate.models",
    "easyanimate.models.transformer3d",
    "easyanimate.models.autoencoder_magvit",
)
_ORIGINAL += ("transformer3d", "autoencoder_magvit")  # as the original's own save_pretrained writes them
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
