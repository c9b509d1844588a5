"""This project's contestant of `train_step --system easy_animate`, and what it shares with that in torch.

Both start from the weights of one file and see the same inputs. Frameworks are imported by the functions that use
them: these run under different Pythons.
"""

import math
import os

from benchmarks.contestant import versions
from benchmarks.dit_networks import CLIP_TOKENS, PIXELS_OF_A_LATENT, make_network, weight
from benchmarks.networks import start_paddle
from benchmarks.training_networks import LEARNING_RATE, WEIGHT_DECAY, allocated_by, describe

PREDICTED = 4  # channels of the latents; the rest of a prediction is a variance that V4's loss leaves alone
PADDING = 3  # tokens at the end of texts and of what CLIP sees


def inputs(settings):
    """What a step learns from, as arrays by name; the last tokens of texts and pictures are padding."""
    import numpy as np

    network, (batch, channels, *size) = settings["network"], settings["latents"]
    random = np.random.default_rng(0)
    shapes = {
        "noisy": (batch, channels, *size),
        "known": (batch, 2 * channels, *size),
        "target": (batch, channels, *size),
        "states": (batch, network["text_len"], network["cross_attention_dim"]),
        "states_2": (batch, network["text_len_t5"], network["cross_attention_dim_t5"]),
        "clip": (batch, CLIP_TOKENS, network["projection_dim"]),
    }
    arrays = {name: random.standard_normal(shape, "float32") for name, shape in shapes.items()}
    for name in ("states", "states_2"):
        mask = np.ones(shapes[name][:2], "float32")
        mask[:, -PADDING:] = 0
        arrays[name.replace("states", "mask")] = mask
    arrays["clip_mask"] = np.ones((batch, network["n_query"]), "float32")
    arrays["clip_mask"][:, -PADDING:] = 0
    arrays["timesteps"] = random.integers(1000, size=batch).astype("float32")
    return arrays


def pixels_of(settings):
    """Height and width of the video."""
    return [side * PIXELS_OF_A_LATENT for side in settings["latents"][3:]]


def write_weights(settings):
    """The file of random weights that both load, and the tables of fixed numbers, which the peer takes from there."""
    import numpy as np
    import paddle

    from ppdiffusers_ext.models.easy_animate.positions import grid_table, resize_grid
    from ppdiffusers_ext.models.easy_animate.shared import embed_numbers
    from ppdiffusers_ext.pipelines.easy_animate.denoise import CROP, ORIGINAL_SIZE
    from ppdiffusers_ext.weights.writing import write_safetensors

    model = make_network(settings)
    arrays = {name: weight(name, tensor.shape) for name, tensor in model.state_dict().items()}
    write_safetensors(settings["weights"], arrays, {"format": "pd"})
    batch, _, frames, *sides = settings["latents"]
    sizes = paddle.to_tensor([[*ORIGINAL_SIZE, *map(float, pixels_of(settings)), *CROP]] * batch)
    side = math.isqrt(model.config.n_query)
    places = grid_table(side, side, model.config.cross_attention_dim)
    tables = {
        **model.prepare_tables(frames, *sides),
        "times": embed_numbers(paddle.to_tensor(inputs(settings)["timesteps"])),
        "sizes": embed_numbers(sizes),
        "places": places,
        "places_of_keys": resize_grid(places, CLIP_TOKENS),
    }
    np.savez(settings["tables"], **{name: tensor.numpy() for name, tensor in tables.items()})
    return {"bytes": os.path.getsize(settings["weights"])}


def run_steps(model, parameters, backward, update, settings):
    """What both say of their run: see `describe`, and of a step before, what shows that they compute the same.

    Args:
        model: with `named_parameters`.
        parameters: the trained ones.
        backward: function that computes gradients and returns (prediction as an array, loss).
        update: function that has the optimiser make its step, and clears the gradients.
    """
    import numpy as np

    prediction, loss = backward()
    np.save(settings["output"], prediction)
    gradient_norm = math.hypot(*(np.linalg.norm(parameter.grad.numpy().astype(float)) for parameter in parameters))
    update()

    def step():
        _, loss = backward()
        update()
        return loss

    row = describe(step, model, settings, parameters)
    return {**row, "losses": [loss, *row["losses"]], "gradient_norm": gradient_norm}


def ours(settings):
    """The step of scripts/trainer_easy_animate.py, all of whose parameters learn."""
    start_paddle(settings)
    import paddle

    from ppdiffusers_ext.pipelines.easy_animate.denoise import Text
    from ppdiffusers_ext.training.easy_animate.model import EasyAnimateModel
    from ppdiffusers_ext.training.losses import mean_squared_error
    from ppdiffusers_ext.weights.assignment import load_weights

    network = make_network(settings)
    load_weights(network, settings["weights"])
    if settings["gradient_checkpointing"]:
        network.enable_gradient_checkpointing()
    model = EasyAnimateModel(network)
    model.train()
    parameters = model.parameters()
    given = {name: paddle.to_tensor(array) for name, array in inputs(settings).items()}
    text = Text(*(given[name] for name in ("states", "mask", "states_2", "mask_2")))
    optimizer = paddle.optimizer.AdamW(LEARNING_RATE, parameters=parameters, weight_decay=WEIGHT_DECAY)

    def backward():
        seen = (given[name] for name in ("known", "clip", "clip_mask"))
        prediction = model(given["noisy"], given["timesteps"], text, pixels_of(settings), *seen)
        loss = mean_squared_error(prediction[:, :PREDICTED], given["target"])
        loss.backward()
        return prediction.numpy(), float(loss)

    def update():
        optimizer.step()
        optimizer.clear_grad()

    row = run_steps(model, parameters, backward, update, settings)
    row["activation_bytes"] = allocated_by(backward)
    row["versions"] = versions("paddlepaddle", "ppdiffusers")
    return row


CONTESTANTS = {"weights": write_weights, "ours": ours}
