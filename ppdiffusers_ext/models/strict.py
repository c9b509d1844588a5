"""`ModelMixin` whose `from_pretrained` refuses a checkpoint that does not fit."""

from ppdiffusers.models.modeling_utils import ModelMixin

from ppdiffusers_ext.errors import InputError


class StrictModelMixin(ModelMixin):
    """ppdiffusers' `ModelMixin`, but missing, unexpected and mismatched names are an error instead of a log line.

    `from_pretrained(folder, paddle_dtype=...)` takes fp32, bf16 and fp16. On a CPU, half precision is storage only:
    arithmetic is in fp32 (see `ppdiffusers_ext.models.layers`).
    """

    _supports_gradient_checkpointing = True

    @staticmethod
    def _set_gradient_checkpointing(module, value=False):
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = value

    @classmethod
    def _load_pretrained_model(cls, model, resolved_model_files, pretrained_model_name_or_path, **kwargs):
        try:
            result = super()._load_pretrained_model(
                model, resolved_model_files, pretrained_model_name_or_path, **kwargs
            )
        except RuntimeError as error:
            raise InputError(f"{pretrained_model_name_or_path} is not a {cls.__name__}: {error}") from error
        _, missing, unexpected, _, _ = result
        if missing or unexpected:
            raise InputError(describe_mismatch(cls.__name__, pretrained_model_name_or_path, missing, unexpected))
        return result


def describe_mismatch(class_name, source, missing, unexpected, mismatched=()):
    """One message that says in what way the weights at `source` are not those of the class, naming the first few."""
    parts = []
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched)):
        names = sorted(names)
        if names:
            parts.append(
                f"{len(names)} tensors are {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            )
    return f"{source} does not hold the weights of this {class_name}: {'; '.join(parts)}"
