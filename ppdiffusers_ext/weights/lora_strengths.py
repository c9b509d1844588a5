"""How strong the layers of a LoRA file are where no `alpha` beside them says it: what was noted at the training.

kohya's scripts note `ss_network_alpha` in the file's metadata, diffusers notes PEFT's configuration there
(`lora_adapter_metadata`), and PEFT writes it into `adapter_config.json` beside the file. Without any of them, alpha is
the rank.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.errors import InputError, printable, shown
from ppdiffusers_ext.files import parse_json, read_json
from ppdiffusers_ext.weights.lora_names import ALPHA_ACCEPTED, DOTTED

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.lora_formulas import Addition


PEFT_CONFIG = "adapter_config.json"
_ACCEPTED = "the configuration of a LoRA, LoHa or LoKr of PEFT is accepted"
_KINDS = {"LORA": ("r", "lora_alpha"), "LOHA": ("r", "alpha"), "LOKR": ("r", "alpha")}
_USED = ("peft_type", "r", "lora_alpha", "alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora")
# What does not change the numbers, or shows in the keys: where layers are looked for, and how they were trained.
_WITHOUT_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "init_weights", "runtime_config"),
    *("lora_dropout", "rank_dropout", "module_dropout", "bias", "lora_bias", "use_effective_conv2d"),
    *("decompose_both", "decompose_factor", "ensure_weight_tying", "init_lora_weights"),
    # Of how it was trained; the second counts with use_qalora alone, which is refused.
    *("megatron_config", "megatron_core", "qalora_group_size"),
}
# Initial values that change the weights of the model itself, which a LoRA then belongs to.
_CHANGES_MODEL = ("pissa", "olora", "corda", "loftq")
_MOST_RANK = 1 << 20


class Strengths:
    """Scales of the layers of one file.

    Args:
        path: of the file.
        metadata: name -> text.
        is_peft: whether it has PEFT's names, and `adapter_config.json` beside it is its own.

    Raises:
        InputError: a configuration that cannot be read or has what is not computed.
    """

    def __init__(self, path: Any, metadata: dict[str, str], is_peft: bool) -> None:
        self._path, self._alpha = path, metadata.get("ss_network_alpha")
        self._configs, config = {}, Path(path).parent / PEFT_CONFIG
        if "lora_adapter_metadata" in metadata:
            where = f"lora_adapter_metadata of {path}"
            for network, values in _split(parse_json(metadata["lora_adapter_metadata"], where, _ACCEPTED)).items():
                self._configs[network] = _Config(where, values)
        elif (is_peft or Path(path).stem == "adapter_model") and config.exists():
            values = read_json(config, "LoRA configuration", _ACCEPTED)
            self._configs[None] = _Config(f"LoRA configuration {config}", values)

    @property
    def are_known(self) -> bool:
        """Whether anything is noted."""
        return bool(self._configs) or self._alpha is not None

    def scale(self, network: str, layer: str, addition: Addition) -> float:
        """What the product of an `Addition` of a layer is multiplied by, where its own `alpha` does not say.

        Raises:
            InputError: what is noted contradicts the layer, or is no number.
        """
        config = self._configs.get(network, self._configs.get(None))
        if config is not None:
            return config.scale(layer, addition)
        if addition.scale is not None:
            return addition.scale
        if self._alpha in (None, "", "None"):
            return 1.0
        return _read_alpha(f"{self._path}: ss_network_alpha", self._alpha) / addition.product.rank


class _Config:
    """PEFT's configuration of an adapter."""

    def __init__(self, where: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise InputError(f"{where} holds a {type(values).__name__}; {_ACCEPTED}")
        self._where, self._kind = where, str(values.get("peft_type", "LORA")).upper()
        if self._kind not in _KINDS:
            raise InputError(f"{where} is of the kind {shown(values['peft_type'])}; {_ACCEPTED}")
        for name, value in values.items():
            if name not in _USED and name not in _WITHOUT_EFFECT and value not in (None, False, [], {}, ""):
                raise InputError(
                    f"{where} has {printable(name, 60)} {shown(value)}, which is not computed; {_ACCEPTED}"
                )
        initial = values.get("init_lora_weights")
        if isinstance(initial, str) and initial.lower().startswith(_CHANGES_MODEL):
            raise InputError(
                f"{where} has init_lora_weights {shown(initial)}, which changed the model that it was trained for; "
                "a LoRA of the released model is accepted"
            )
        rank, alpha = _KINDS[self._kind]
        self._rank, self._alpha = values.get(rank, 8), values.get(alpha, 8)  # PEFT's defaults
        self._ranks, self._alphas = (self._read_pattern(values, name) for name in ("rank_pattern", "alpha_pattern"))
        self._is_rooted, self._has_dora = (values.get(name) is True for name in ("use_rslora", "use_dora"))

    def _read_pattern(self, values: dict[str, Any], name: str) -> dict[str, Any]:
        pattern = values.get(name) or {}
        if not isinstance(pattern, dict):
            raise InputError(f"{self._where} has {name} {shown(pattern)}; numbers by layer are accepted")
        layers = {}
        for key, value in pattern.items():
            # PEFT takes it for an expression. None from a file is run here; people write names of layers.
            layer = key.removeprefix("^").removesuffix("$").replace("\\.", ".")
            if not re.fullmatch(r"[\w.]+", layer):
                raise InputError(f"{self._where} has {shown(key)} in {name}; names of layers are accepted")
            layers[layer] = value
        return layers

    def scale(self, layer: str, addition: Addition) -> float:
        rank = self._of_layer(self._ranks, layer, self._rank, "r")
        alpha = self._of_layer(self._alphas, layer, self._alpha, "alpha")
        if self._kind == "LORA":
            own = addition.product.rank
            if own != rank:
                raise InputError(f"{self._where} has r {rank:g}, {addition.where} has {own}; both of one training fit")
            if self._has_dora and addition.magnitude is None:
                raise InputError(f"{self._where} has use_dora, and {addition.where} no lora_magnitude_vector")
        if addition.scale is not None and self._kind == "LORA":
            return addition.scale
        return alpha / (math.sqrt(rank) if self._is_rooted else rank)

    def _of_layer(self, pattern: dict[str, Any], layer: str, default: Any, name: str) -> float:
        found = next((known for known in pattern if layer == known or layer.endswith(f".{known}")), None)
        read = _read_alpha if name == "alpha" else _number
        value = read(f"{self._where}: {name}", default if found is None else pattern[found])
        if name == "r" and not 0 < value <= _MOST_RANK:
            raise InputError(f"{self._where}: r is {shown(value)}; a whole number above 0 is needed")
        return value


def _split(values: Any) -> dict[str | None, Any]:
    """What diffusers packed for several networks -> that of each: {"transformer.r": 4} -> {TRANSFORMER: {"r": 4}}."""
    if not isinstance(values, dict):
        return {None: values}
    networks: dict = {}
    for name, value in values.items():
        prefix = next((prefix for prefix in DOTTED if name.startswith(prefix)), "")
        networks.setdefault(DOTTED.get(prefix), {})[name[len(prefix) :]] = value
    return networks


def _read_alpha(where: str, value: Any) -> float:
    number = _number(where, value)
    if number == 0:
        raise InputError(f"{where} is 0; {ALPHA_ACCEPTED}")
    return number


def _number(where: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where} is {shown(value)}; a number is needed")
    return number
