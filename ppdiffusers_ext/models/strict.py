"""`ModelMixin` whose `from_pretrained` refuses a checkpoint that does not fit."""

from ppdiffusers.models.modeling_utils import ModelMixin

from ppdiffusers_ext.models.option_rules import rules_of
from ppdiffusers_ext.weights.assignment import load_weights


class StrictModelMixin(ModelMixin):
    """ppdiffusers' `ModelMixin`, but files are read safely, and what does not fit is an error instead of a log line.

    `from_pretrained(folder, paddle_dtype=...)` takes fp32, bf16 and fp16. On a CPU, half precision is storage only:
    arithmetic is in fp32 (see `ppdiffusers_ext.models.layers`).

    The options of the constructor are held against `option_rules` before anything is built: InputError, a ValueError.
    """

    _supports_gradient_checkpointing = True

    def register_to_config(self, **options):
        rules_of(type(self).__name__).check(options, type(self).__name__)
        super().register_to_config(**options)

    @staticmethod
    def _set_gradient_checkpointing(module, value=False):
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = value

    @classmethod
    def _load_pretrained_model(cls, model, resolved_model_files, pretrained_model_name_or_path, **_):
        load_weights(model, *resolved_model_files)
        return model, [], [], [], []  # nothing is missing or unexpected, mismatched or told as an error
