"""Text encoders from paddlenlp, made to compute what transformers' do."""

import functools

from paddlenlp.transformers import BertConfig, BertModel, T5Config, T5EncoderModel

from ppdiffusers_ext.pipelines.loading import known_options


def make_bert(config):
    """A `BertModel` of a `config.json`, as a dict."""
    return BertModel(BertConfig(**known_options(BertConfig, config)))


def make_t5(config):
    """A `T5EncoderModel`, of T5 or mT5, of a `config.json`, as a dict."""
    model = T5EncoderModel(T5Config(**known_options(T5Config, config)))
    distance = config.get("relative_attention_max_distance", 128)  # which paddlenlp takes for 128 always
    for layer in model.sublayers():
        if hasattr(layer, "_relative_position_bucket"):
            layer._relative_position_bucket = functools.partial(layer._relative_position_bucket, max_distance=distance)
    return model
