"""What the keys of LoRA files say: which network, which layer of it, and what of the layer.

A key is a prefix, the path of a layer, and an element. Prefix and path are those of kohya's scripts and LyCORIS, with
underscores in the place of dots (`lora_unet_blocks_0_attn1_to_q`), or those of diffusers, PEFT and ComfyUI with dots
(`transformer.blocks.0.attn1.to_q`). The elements have a name or two in each of these.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppdiffusers_ext.errors import InputError, printable

TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2 = "transformer", "text_encoder", "text_encoder_2"
# The one that is a T5: V4's second, the only one before.
T5_ENCODER = "T5 text encoder"

# Before layers with underscores; the text encoders are numbered from 1. Trainers that take a list of them number none,
# and write `lora_te_` before the layers of all: BERT's and T5's have different paths, which tell which is meant.
_FLAT = {
    "lora_unet_": TRANSFORMER,
    "lora_transformer_": TRANSFORMER,
    "lycoris_": TRANSFORMER,
    "lora_te_": TEXT_ENCODER,
    "lora_te1_": TEXT_ENCODER,
    "lora_te2_": TEXT_ENCODER_2,
}
_UNNUMBERED = "lora_te_"
# Before the layers of files that are written. The second underscore of the first stands for the path of the
# transformer's root, which has none.
_WRITTEN = {TRANSFORMER: "lora_unet__", TEXT_ENCODER: _UNNUMBERED}
_OF_T5 = re.compile(r"_?encoder_block_\d+_layer_\d+_")  # BERT's begin with encoder_layer
# Before layers with dots.
DOTTED = {
    "transformer.": TRANSFORMER,
    "unet.": TRANSFORMER,
    "diffusion_model.": TRANSFORMER,
    "model.diffusion_model.": TRANSFORMER,
    "text_encoder.": TEXT_ENCODER,
    "text_encoder_2.": TEXT_ENCODER_2,
}
PEFT = "base_model.model."  # what PEFT wraps a network in, before or behind all of the above
# Of names with dots, what other wrappers of PyTorch leave in them.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.")

_ADAPTER = r"(?:\.(?!weight$|bias$)(?P<adapter{0}>[\w-]+))?"  # PEFT's name for one of several
_ELEMENT = re.compile(
    r"(?P<layer>.+?)\.(?:"
    rf"lora_(?P<end>up|down|mid|A|B){_ADAPTER.format(1)}(?:\.(?P<kind>weight|bias))?"
    r"|lora(?:_linear_layer)?\.(?P<old_end>up|down)\.weight"
    r"|processor\.(?P<projection>to_q|to_k|to_v|to_out)_lora\.(?P<oldest_end>up|down)\.weight"
    rf"|lora_magnitude_vector{_ADAPTER.format(2)}(?P<magnitude>(?:\.weight)?)"
    rf"|(?P<named>(?:hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))){_ADAPTER.format(3)}"
    r"|(?P<plain>alpha|dora_scale|diff|diff_b)"
    r")"
)
_ENDS = {"A": "down", "B": "up"}
# What else such files are known to hold, none of which is computed.
_OTHERS = (
    ("BOFT", r"(^|\.)boft_"),
    ("OFT", r"(^|\.)oft_"),
    ("IA3", r"\.on_input$|(^|\.)ia3_l"),
    ("GLoRA", r"\.[ab][12]\.weight$"),
    ("VeRA", r"(^|\.)vera_"),
    ("norms", r"\.[wb]_norm$"),
    ("weights that are replaced", r"\.(reshape_weight|set_weight)$|(^|\.)modules_to_save\."),
    ("LoRA of embeddings", r"\.lora_embedding_[AB]"),
    ("scales", r"\.(scale_weight|scale_input|weight_scale|scaled_fp8|scale)$"),
)
# kohya's scripts take an alpha of 0 for the rank, others for no effect at all.
ALPHA_ACCEPTED = "another number is needed, as tools differ in what 0 means"
METHODS = "LoRA, LoCon, DoRA, LoHa, LoKr and differences (diff, diff_b) are accepted"
NAMED = 3  # keys of a message
_LONGEST = 120  # characters of a key in it


@dataclass(frozen=True)
class Key:
    """
    Attributes:
        text: the whole key.
        stem: the key without the element.
        network: TRANSFORMER, TEXT_ENCODER, TEXT_ENCODER_2 or T5_ENCODER.
        layer: its path, in the original's names.
        is_flat: whether the path has underscores for dots.
        has_prefix: whether the key names the network; that of one that does not is the transformer's.
        is_peft: whether it begins as PEFT's do.
        element: "up", "down", "mid", "up_bias", "alpha", "dora_scale", "magnitude", "diff", "diff_b", "hada_w1_a", ...
        adapter: PEFT's name of the adapter, "" in most files.
    """

    text: str
    stem: str
    network: str
    layer: str
    is_flat: bool
    has_prefix: bool
    is_peft: bool
    element: str
    adapter: str


def parse_keys(path: str | os.PathLike, keys: Iterable[str]) -> list[Key]:
    """The `Key` of each key of a file.

    Raises:
        InputError: one has an element that is not known or not computed, whose method is named where it is known.
    """
    parsed, unknown = [], []
    for key in keys:
        found = _ELEMENT.fullmatch(key)
        element = found and _element(found)
        if not found or not element:
            unknown.append(key)
            continue
        adapter = next((found[name] for name in ("adapter1", "adapter2", "adapter3") if found[name]), "")
        parsed.append(Key(key, _stem(found), *_layer(found), element, adapter))
    if not unknown:
        return parsed
    for method, pattern in _OTHERS:
        own = [key for key in unknown if re.search(pattern, key)]
        if own:
            raise InputError(f"{path} has {method} ({shorten(own)}), which is not computed; {METHODS}")
    if not parsed:
        raise InputError(f"{path} is no LoRA: {shorten(unknown)} is nothing of one; {METHODS}")
    raise InputError(f"{path} has {shorten(unknown)}, which is not known of a LoRA; {METHODS}")


def _element(found: re.Match[str]) -> str | None:
    end = found["end"] or found["old_end"] or found["oldest_end"]
    if end:
        end = _ENDS.get(end, end)
        if found["kind"] != "bias":
            return end
        return "up_bias" if end == "up" else None
    if found["magnitude"] is not None:
        return "magnitude"
    return found["named"] or found["plain"]


def _stem(found: re.Match[str]) -> str:
    return found["layer"] + (f".processor.{found['projection']}_lora" if found["projection"] else "")


def _layer(found: re.Match[str]) -> tuple[str, str, bool, bool, bool]:
    """(network, layer, is_flat, has_prefix, is_peft)"""
    text = found["layer"]
    is_peft = text.startswith(PEFT)
    layer = text.removeprefix(PEFT)
    if found["projection"]:  # to_out is a list of a linear layer and a dropout
        layer += f".{found['projection']}" + (".0" if found["projection"] == "to_out" else "")
    for prefixes, is_flat in ((_FLAT, True), (DOTTED, False)):
        for prefix, network in prefixes.items():
            if layer.startswith(prefix):
                own = layer[len(prefix) :]
                is_peft |= own.startswith(PEFT)
                network = T5_ENCODER if prefix == _UNNUMBERED and _OF_T5.match(own) else network
                return network, _unwrapped(own.removeprefix(PEFT), is_flat), is_flat, True, is_peft
    return TRANSFORMER, _unwrapped(layer, False), False, False, is_peft


def _unwrapped(layer: str, is_flat: bool) -> str:
    if is_flat:
        return layer.replace(".", "_")
    for wrapper in _WRAPPERS:
        layer = layer.replace(wrapper, "")
    return layer


def kohya_name(network: str, layer: str) -> str:
    """What a layer is called in a LoRA file of kohya's layout.

    Args:
        network: TRANSFORMER or TEXT_ENCODER.
        layer: its path, in the original's names.
    """
    return _WRITTEN[network] + layer.replace(".", "_")


def shorten(keys: Sequence[str]) -> str:
    """The first few of many keys, for a message."""
    shown = ", ".join(printable(key, _LONGEST).replace("\n", " ") for key in keys[:NAMED])
    return shown + (f" and {len(keys) - NAMED} more" if len(keys) > NAMED else "")


def known_prefixes() -> str:
    """The prefixes of each network, for a message."""
    names = {TRANSFORMER: "the transformer", TEXT_ENCODER: "the text encoder", TEXT_ENCODER_2: "the second one"}
    return "; ".join(
        f"{', '.join(prefix for known in (_FLAT, DOTTED) for prefix, n in known.items() if n == network)} of {name}"
        for network, name in names.items()
    )
