"""Small text encoders of EasyAnimate V4: a BERT and a T5 that agree about captions of the same scene.

A caption that BERT reads and another one, in other words or another language, that T5 reads are of one scene or of
two, and both learn to tell (Radford et al. 2021, arXiv:2103.00020, with a text in the place of the picture). So their
tokens carry which colour is the shirt's and which is the background's; those of random networks hardly do.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import sentencepiece

from ppdiffusers_ext.pipelines.easy_animate.prompts import read_tokenizer
from ppdiffusers_ext.pipelines.easy_animate.text_encoders import make_bert, make_t5
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.writing import write_safetensors

WIDTH, LENGTHS = 64, (32, 32)  # channels of both, and tokens of a caption for BERT and for T5
_LAYERS, _HEADS = 2, 4
_PIECES = 400  # of T5's vocabulary
_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LEARNING_RATE, _TEMPERATURE = 2e-3, 0.1
FOLDERS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")


def write_tokenizers(folder: Path, texts: Sequence[str]) -> None:
    """Write the vocabularies of texts: `tokenizer` for BERT, of words and letters, and `tokenizer_2` for T5."""
    letters = sorted({letter for text in texts for letter in text.lower() if not letter.isspace()})
    words = sorted({word for text in texts for word in text.lower().replace(",", " ").split() if word.isascii()})
    pieces = [f"##{letter}" for letter in letters if letter.isascii()]
    vocabulary = [*_SPECIALS, *dict.fromkeys([*letters, *words, *pieces])]
    _write(folder / "tokenizer" / "vocab.txt", "".join(f"{word}\n" for word in vocabulary).encode())
    _write_options(folder / "tokenizer", "BertTokenizer", LENGTHS[0])
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(_IDEOGRAPH.sub(r" \g<0> ", text) for text in texts),  # of which none is merged with others
        model_writer=model,
        vocab_size=_PIECES,
        model_type="bpe",
        character_coverage=1.0,
        num_threads=1,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        normalization_rule_name="nmt_nfkc_cf",  # in any case, and in full width or not
        minloglevel=2,
    )
    _write(folder / "tokenizer_2" / "spiece.model", model.getvalue())
    _write_options(folder / "tokenizer_2", "T5Tokenizer", LENGTHS[1], extra_ids=0)


def train_caption_encoders(
    folder: Path,
    scenes: Sequence[Sequence[str]],
    alike: Sequence[int],
    steps: int,
    batch: int,
    seed: int,
    progress: Callable[[Any], Any] = lambda numbers: numbers,
) -> float:
    """Train both encoders with the tokenizers of a folder, and write them into it.

    Args:
        folder: that `write_tokenizers` wrote into; `text_encoder` and `text_encoder_2` are added.
        scenes: of each scene its captions.
        alike: of each scene the number of one that is hard to tell from it, which a step has beside it.
        steps, batch: number of steps, and of scenes per step without those beside them.
        seed: of all random numbers.
        progress: function of the iterable of steps that returns an iterable of them, such as tqdm.

    Returns:
        How often, over the last tenth of the steps, a caption's nearest of the batch is of the same scene.
    """
    rng = np.random.default_rng(seed)
    paddle.seed(seed)
    tokens = [_tokens(folder / name, length, scenes) for name, length in zip(FOLDERS, LENGTHS)]
    sizes = [_size_of_vocabulary(folder), _size_of_vocabulary_2(folder)]
    encoders = [make_bert(_bert(sizes[0])), make_t5(_t5(sizes[1]))]
    parameters = [parameter for encoder in encoders for parameter in encoder.parameters()]
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(_LEARNING_RATE, steps)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=parameters, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))
    places = np.cumsum([0, *map(len, scenes)])
    matched = []
    for encoder in encoders:
        encoder.train()
    for step in progress(range(steps)):
        chosen = rng.permutation(len(scenes))[:batch]
        chosen = np.unique([*chosen, *np.take(alike, chosen)])
        seen = []
        for encoder, (ids, mask) in zip(encoders, tokens):
            rows = places[chosen] + rng.integers(places[chosen + 1] - places[chosen])
            seen.append(_mean_state(encoder, ids[rows], mask[rows]))  # (batch, channels)
        logits = paddle.matmul(seen[0], seen[1], transpose_y=True) / _TEMPERATURE  # (batch, batch)
        labels = paddle.arange(len(chosen))
        (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)).backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        if step >= steps - max(1, steps // 10):
            matched.append(float((logits.argmax(axis=1) == labels).astype("float32").mean()))
    for name, encoder in zip(FOLDERS[2:], encoders):
        options = json.dumps(encoder.source_config, indent=2) + "\n"
        _write(folder / name / "config.json", options.encode())
        arrays = {key: to_array(tensor) for key, tensor in encoder.state_dict().items()}
        write_safetensors(folder / name / "model.safetensors", arrays, {"format": "pd"})
    return float(np.mean(matched))


def _mean_state(encoder: Any, ids: np.ndarray, mask: np.ndarray) -> paddle.Tensor:
    """The mean of a text's states, of length 1, (batch, channels)."""
    weights = paddle.to_tensor(mask)
    states = encoder(paddle.to_tensor(ids), attention_mask=weights)[0]  # (batch, tokens, channels)
    return F.normalize((states * weights.unsqueeze(2).astype(states.dtype)).sum(axis=1))


def _tokens(folder: Path, length: int, scenes: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of all captions, one after the other, (captions, length)."""
    ids, mask = read_tokenizer(folder, length)([text for texts in scenes for text in texts])
    return ids.numpy(), mask.numpy()


def _size_of_vocabulary(folder: Path) -> int:
    return len((folder / "tokenizer" / "vocab.txt").read_text(encoding="utf-8").splitlines())


def _size_of_vocabulary_2(folder: Path) -> int:
    return sentencepiece.SentencePieceProcessor(str(folder / "tokenizer_2" / "spiece.model")).get_piece_size()


def _bert(size: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": size,
        "hidden_size": WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": 4 * WIDTH,
        "max_position_embeddings": LENGTHS[0],
        "type_vocab_size": 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _t5(size: int) -> dict[str, Any]:
    return {
        "model_type": "mt5",
        "architectures": ["MT5EncoderModel"],
        "vocab_size": size,
        "d_model": WIDTH,
        "d_kv": WIDTH // _HEADS,
        "d_ff": 2 * WIDTH,
        "num_layers": _LAYERS,
        "num_heads": _HEADS,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _write_options(folder: Path, kind: str, length: int, **options: Any) -> None:
    options = {"tokenizer_class": kind, "model_max_length": length, **options}
    _write(folder / "tokenizer_config.json", (json.dumps(options, indent=2) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
