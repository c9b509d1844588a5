"""The denoising UNet as functions of tensors, which an engine runs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone.transformer import TransformerConditions

if TYPE_CHECKING:
    from ppdiffusers_ext.models.animate_anyone.blocks import Conditions
    from ppdiffusers_ext.pipelines.engines import Engine


class CompiledUNet:
    """What the pipeline asks of a `DenoisingUNet3D`, computed in an engine.

    Args:
        network: the `Network` of a `DenoisingUNet3D`.
        engine: a `CompiledEngine` or an `AutoEngine`.
        steps: how many denoising steps there will be.
        calls: how many calls of `denoise` each of them takes.
    """

    def __init__(self, network: Network, engine: "Engine", steps: int, calls: int) -> None:
        self._network, self._unet, self._engine = network, network.model, engine
        self._steps, self._calls = steps, calls

    def _run(
        self,
        what: str,
        function: Callable[..., list[paddle.Tensor]],
        inputs: dict[str, paddle.Tensor],
        calls: int = 1,
        **settings: Any,
    ) -> list[paddle.Tensor]:
        return self._engine.run(self._network, what, function, inputs, calls, **settings)

    def prepare_clip(
        self, encoder_hidden_states: paddle.Tensor, reference_features: Mapping[str, paddle.Tensor] | None = None
    ) -> dict[str, TransformerConditions]:
        """As `DenoisingUNet3D.prepare_clip`."""
        if encoder_hidden_states.shape[1] != 1:
            raise InputError("an engine runs image embeddings of a single token; engine eager is accepted for others")
        features = reference_features or {}

        def function(embedding: paddle.Tensor, *tensors: paddle.Tensor) -> list[paddle.Tensor]:
            given = dict(zip(features, tensors)) if features else None
            return list(_flatten(self._unet.prepare_clip(embedding, given)).values())

        inputs = {"embedding": encoder_hidden_states, **{f"reference.{name}": x for name, x in features.items()}}
        kinds = ("key", "value", "shift") if features else ("shift",)
        names = [f"{kind}.{name}" for name in self._unet.transformers for kind in kinds]
        return _unflatten(dict(zip(names, self._run("prepare_clip", function, inputs))), self._unet.transformers)

    def prepare_step(self, timestep: Any) -> dict[str, paddle.Tensor]:
        """As `DenoisingUNet3D.prepare_step`."""
        inputs = {"embedding": self._unet.time_projection(timestep, 1)}
        names = self._unet.resnet_names
        function = lambda x: list(self._unet.project_step(x).values())  # noqa: E731
        return dict(zip(names, self._run("prepare_step", function, inputs, self._steps)))

    def denoise(
        self,
        latents: paddle.Tensor,
        conditions: "Conditions",
        pose_features: paddle.Tensor | None = None,
        depth: int = 0,
        deep: paddle.Tensor | None = None,
    ) -> Any:
        """As `DenoisingUNet3D.denoise`."""
        optional = {"pose": pose_features, "deep": deep}
        inputs = {
            "latents": latents,
            **{name: x for name, x in optional.items() if x is not None},
            **{f"time.{name}": time for name, time in conditions.times.items()},
            **_flatten(conditions.clip),
        }

        def function(*tensors: paddle.Tensor) -> list[paddle.Tensor]:
            given = dict(zip(inputs, tensors))
            times = {name: given[f"time.{name}"] for name in conditions.times}
            traced = replace(conditions, times=times, clip=_unflatten(given, conditions.clip))
            result = self._unet.denoise(given["latents"], traced, given.get("pose"), depth, given.get("deep"))
            return list(result) if depth else [result]

        settings = {"frames": conditions.num_frames, "unconditional": conditions.num_unconditional, "depth": depth}
        outputs = self._run("denoise", function, inputs, self._steps * self._calls, in_8_bits=True, **settings)
        return tuple(outputs) if depth else outputs[0]


def _flatten(clip: Mapping[str, TransformerConditions]) -> dict[str, paddle.Tensor]:
    """Name -> `TransformerConditions`, as name -> tensor."""
    tensors = {}
    for name, conditions in clip.items():
        if conditions.reference is not None:
            tensors[f"key.{name}"], tensors[f"value.{name}"] = conditions.reference
        if conditions.shift is not None:
            tensors[f"shift.{name}"] = conditions.shift
    return tensors


def _unflatten(tensors: Mapping[str, paddle.Tensor], names: Iterable[str]) -> dict[str, TransformerConditions]:
    """What `_flatten` was given, for transformers of these names."""
    unflattened = {}
    for name in names:
        has_reference = f"key.{name}" in tensors
        reference = (tensors[f"key.{name}"], tensors[f"value.{name}"]) if has_reference else None
        unflattened[name] = TransformerConditions(reference, tensors.get(f"shift.{name}"))
    return unflattened


def make_unet(engine: "Engine", network: Network, steps: int = 1, calls: int = 1) -> Any:
    """A denoising UNet, as `WindowPredictor` uses it: the `DenoisingUNet3D` with its weights, or a `CompiledUNet`.

    Args:
        engine: an `EagerEngine`, a `CompiledEngine` or an `AutoEngine`.
        network, steps, calls: see `CompiledUNet`.
    """
    return network.load() if engine.needs_weights else CompiledUNet(network, engine, steps, calls)
