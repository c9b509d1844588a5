"""Networks that rate frames: CLIP's two towers, and SigLIP with its aesthetic head.

Frames are prepared as transformers' image processors do (bicubic, by Pillow), texts as its `CLIPTokenizer`.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from PIL import Image
from ppdiffusers.transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.files import read_json, read_text
from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.models.siglip import AestheticHead, SiglipVisionModel
from ppdiffusers_ext.runtime import check_device
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.folders import find_weights, read_config

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_START, _END = "<|startoftext|>", "<|endoftext|>"
_MOST_VOCABULARY = 64 << 20  # bytes
# As OpenAI's tokenizer splits a text before it looks for pairs.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_pixels(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame as CLIP sees it: the shorter side is resized, and the middle square taken.

    Args:
        frame: (height, width, 3) uint8 RGB.
        side: of the square in pixels.

    Returns:
        (3, side, side) float32.
    """
    height, width = frame.shape[:2]
    shorter = min(height, width)
    size = (side if width <= height else int(side * width / shorter),
            side if height <= width else int(side * height / shorter))  # fmt: skip
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
    return _normalised(image.crop((left, top, left + side, top + side)), _CLIP_MEAN, _CLIP_STD)


def siglip_pixels(frame: np.ndarray, side: int) -> np.ndarray:
    """As `clip_pixels`, of the whole frame, which becomes a square."""
    return _normalised(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), _HALF, _HALF)


def _normalised(image: Image.Image, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    pixels = np.asarray(image, np.float32) / 255
    pixels = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class ClipTokenizer:
    """Texts to tokens, as transformers' `CLIPTokenizer`.

    Args:
        folder: with vocab.json and merges.txt.
        length: tokens that each text is cut and filled to.

    Raises:
        MissingFileError, InputError: files that are not there, or are none of a tokenizer.
    """

    def __init__(self, folder: Path, length: int) -> None:
        from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
        from tokenizers.models import BPE

        accepted = "that of CLIP is needed"
        vocabulary = read_json(folder / "vocab.json", "vocabulary", accepted, _MOST_VOCABULARY)
        lines = read_text(folder / "merges.txt", "file of merges", accepted, _MOST_VOCABULARY).split("\n")
        merges = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
        try:
            self._start, self._end = vocabulary[_START], vocabulary[_END]
            model: Any = BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=_END)
        except Exception as error:  # of the library in Rust, which has no class of its own
            raise InputError(
                f"the tokenizer in {folder} cannot be used ({printable(error, 200)}); {accepted}"
            ) from error
        self._length, self._tokenizer = length, Tokenizer(model)
        steps: Any = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        self._tokenizer.normalizer = normalizers.Sequence(steps)
        split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
        parts: Any = [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)

    def __call__(self, text: str) -> np.ndarray:
        """(1, length) int64."""
        ids = self._tokenizer.encode(text).ids[: self._length - 2]
        ids = [self._start, *ids, self._end]
        return np.asarray([ids + [self._end] * (self._length - len(ids))], np.int64)


class Clip:
    """CLIP's towers: frames and texts to features of one space.

    Args:
        folder: of a released checkpoint, as transformers lays it out.
        device: auto, cpu, gpu or gpu:N.
        with_texts: whether texts are embedded, too.

    Raises:
        MissingFileError, InputError: files that are not there or do not fit.
    """

    def __init__(self, folder: Path, device: str = "auto", with_texts: bool = False) -> None:
        paddle.set_device(check_device(device))
        config = read_config(folder)
        options = _options_of(config, "vision_config", CLIPVisionConfig, folder)
        vision: Any = _built(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**options)), folder)
        self._vision, self._side = load_weights(vision, find_weights(folder)), vision.config.image_size
        self._text: Any = None
        if with_texts:
            options = _options_of(config, "text_config", CLIPTextConfig, folder)
            text = _built(lambda: CLIPTextModelWithProjection(CLIPTextConfig(**options)), folder)
            self._text = load_weights(text, find_weights(folder))
            self._tokenizer = ClipTokenizer(folder, self._text.config.max_position_embeddings)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """A frame, (height, width, 3) uint8 RGB, as `images` takes it."""
        return clip_pixels(frame, self._side)

    @paddle.no_grad()
    def images(self, pixels: np.ndarray) -> np.ndarray:
        """Features of prepared frames, (n, 3, side, side) -> (n, channels) float32, of length 1."""
        return _unit(self._vision(paddle.to_tensor(pixels)).image_embeds.numpy())

    @paddle.no_grad()
    def text(self, text: str) -> np.ndarray:
        """Features of a text, which is cut after 77 tokens: (channels,) float32, of length 1."""
        return _unit(self._text(paddle.to_tensor(self._tokenizer(text))).text_embeds.numpy())[0]


class Aesthetics:
    """SigLIP's vision tower with the head that rates how frames look.

    Args:
        folder: of SigLIP, as transformers lays it out.
        head: weight file of the head.
        device: auto, cpu, gpu or gpu:N.

    Raises:
        MissingFileError, InputError: files that are not there or do not fit.
    """

    def __init__(self, folder: Path, head: Path, device: str = "auto") -> None:
        paddle.set_device(check_device(device))
        options = _options_of(read_config(folder), "vision_config", SiglipVisionModel, folder)
        tower = _built(lambda: SiglipVisionModel(**options), folder)
        self._tower = load_weights(tower, find_weights(folder))
        self._head = load_weights(_built(lambda: AestheticHead(tower.hidden_size), folder), head)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """A frame, (height, width, 3) uint8 RGB, as `scores` takes it."""
        return siglip_pixels(frame, self._tower.image_size)

    @paddle.no_grad()
    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Ratings of prepared frames, (n, 3, side, side) -> (n,) float32."""
        return self._head(self._tower(paddle.to_tensor(pixels))).numpy()


def in_batches(compute: Callable[[np.ndarray], np.ndarray], pixels: Iterable[np.ndarray], size: int = 8) -> np.ndarray:
    """What `compute` makes of prepared frames, `size` at a time, one after the other."""
    found: list[np.ndarray] = []
    batch: list[np.ndarray] = []
    for each in pixels:
        batch.append(each)
        if len(batch) == size:
            found.append(compute(np.stack(batch)))
            batch = []
    return np.concatenate([*found, *([compute(np.stack(batch))] if batch else [])])


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def _options_of(config: Mapping[str, Any], tower: str, cls: type, folder: Path) -> dict[str, Any]:
    """The options of one tower, held against the rules of its class."""
    options = config.get(tower, config)
    if not isinstance(options, dict):
        raise InputError(f"{folder}: {tower} is no mapping; the options of a tower are accepted")
    known = rules_of(cls)
    options = {name: value for name, value in {**config, **options}.items() if name in known.fields}
    known.check(options, folder)
    return options


def _built(make: Callable[[], Any], folder: Path) -> Any:
    """A network without weights. Raises InputError for options that do not fit each other."""
    try:
        return create(make)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # libraries answer options that do not fit with exceptions of a dozen kinds
        raise InputError(f"{folder}: its options do not fit each other ({printable(error, 200)}); those of one "
                         "network are accepted") from error  # fmt: skip
