"""Small vocabularies of text encoders, written byte by byte: the same files everywhere."""

import json
import struct

# Of BERT, in the order of their ids from 0.
WORDS = (
    "[PAD] [unused1] [UNK] [CLS] [SEP] [MASK] a dog is run ##ning ##s the cafe café Dog on gras ##s , . ! ? ( ) 一 只"
    " 狗 在 跑 ， 。 １ i ##i σ ##σ ##ς 🐶 x ##x"
).split()
# Of T5 behind its three special tokens, the likeliest first.
PIECES = (
    *(
        "▁",
        "▁a",
        "▁dog",
        "▁is",
        "▁run",
        "ning",
        "s",
        "▁the",
        "▁grass",
        "▁on",
        "▁cat",
        "a",
        "d",
        "o",
        "g",
        "n",
        "i",
        "e",
    ),
    *("t", "h", "r", "u", "c", ",", ".", "!", "一只", "狗", "在", "é", "1", "A", "▁A", "k", "<", ">", "x"),
)


def write_bert(folder, **options):
    """A vocab.txt and a tokenizer_config.json. Returns the number of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8", newline="\n")
    options = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 77, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return len(WORDS)


def write_t5(folder, **options):
    """A spiece.model, and a tokenizer_config.json if there are options. Returns the number of tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    unknown, control, normal = 2, 3, 1
    pieces = [("<pad>", 0.0, control), ("</s>", 0.0, control), ("<unk>", 0.0, unknown)]
    pieces += [(piece, -2.0 - 0.1 * number, normal) for number, piece in enumerate(PIECES)]
    (folder / "spiece.model").write_bytes(
        b"".join(_field(1, _piece(*piece)) for piece in pieces) + _field(2, b"\x18\x01")
    )
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return len(pieces)


def _piece(text, score, kind):
    return _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind])


def _field(number, content):
    """A field of a protocol buffer that holds bytes."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
