"""Small LoRA files of every method and convention, and what they add, computed apart in float64."""

import numpy as np

from ppdiffusers_ext.weights.writing import write_safetensors

RANK = 3


def low_rank(draw, shape, rank=RANK):
    """elements, (difference, rank) in float64: of a linear layer, or of a convolution, whose kernel down has."""
    up, down = draw(shape[0], rank, *[1] * (len(shape) - 2)), draw(rank, *shape[1:])
    product = np.einsum("or,r...->o...", up.reshape(shape[0], rank), down)
    return {"lora_up.weight": up, "lora_down.weight": down}, product, rank


def low_rank_in_the_middle(draw, shape, rank=RANK):
    """LoCon by Tucker's decomposition: down 1x1, mid with the kernel, up 1x1."""
    ones = [1] * (len(shape) - 2)
    up, down, mid = draw(shape[0], rank, *ones), draw(rank, shape[1], *ones), draw(rank, rank, *shape[2:])
    elements = {"lora_up.weight": up, "lora_down.weight": down, "lora_mid.weight": mid}
    up, down = up.reshape(shape[0], rank), down.reshape(rank, shape[1])
    product = np.zeros(shape)
    for i in range(rank):
        for j in range(rank):
            product += np.multiply.outer(np.multiply.outer(up[:, i], down[j]), mid[i, j])
    return elements, product, rank


def loha(draw, shape, rank=RANK):
    sizes = shape[0], int(np.prod(shape[1:]))
    a, b, c, d = draw(sizes[0], rank), draw(rank, sizes[1]), draw(sizes[0], rank), draw(rank, sizes[1])
    elements = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    product = np.zeros(sizes)
    for o in range(sizes[0]):
        for i in range(sizes[1]):
            product[o, i] = sum(a[o] * b[:, i]) * sum(c[o] * d[:, i])
    return elements, product.reshape(shape), rank


def loha_of_tucker(draw, shape, rank=RANK):
    parts = {f"hada_w{i}_a": draw(rank, shape[0]) for i in (1, 2)} | {
        f"hada_w{i}_b": draw(rank, shape[1]) for i in (1, 2)
    }
    cores = {f"hada_t{i}": draw(rank, rank, *shape[2:]) for i in (1, 2)}
    products = [
        np.einsum("ijkl,jr,ip->prkl", cores[f"hada_t{i}"], parts[f"hada_w{i}_b"], parts[f"hada_w{i}_a"])
        for i in (1, 2)
    ]
    return {**parts, **cores}, products[0] * products[1], rank


def kronecker(first, second):
    """Kronecker's product of a matrix and a matrix or a kernel, number by number."""
    (a, b), (c, d, *kernel) = first.shape, second.shape
    product = np.zeros((a * c, b * d, *kernel))
    for i in range(a):
        for j in range(b):
            product[i * c : (i + 1) * c, j * d : (j + 1) * d] = first[i, j] * second
    return product


def lokr(draw, shape):
    w1, w2 = draw(2, 2), draw(shape[0] // 2, shape[1] // 2, *shape[2:])
    return {"lokr_w1": w1, "lokr_w2": w2}, kronecker(w1, w2), None


def lokr_of_products(draw, shape, rank=RANK):
    kernel = int(np.prod(shape[2:]))
    parts = {"lokr_w1_a": draw(2, rank), "lokr_w1_b": draw(rank, 2)}
    parts |= {"lokr_w2_a": draw(shape[0] // 2, rank), "lokr_w2_b": draw(rank, shape[1] // 2 * kernel)}
    second = (parts["lokr_w2_a"] @ parts["lokr_w2_b"]).reshape(shape[0] // 2, shape[1] // 2, *shape[2:])
    return parts, kronecker(parts["lokr_w1_a"] @ parts["lokr_w1_b"], second), rank


def lokr_of_tucker(draw, shape, rank=RANK):
    parts = {"lokr_w1": draw(2, 2), "lokr_w2_a": draw(rank, shape[0] // 2), "lokr_w2_b": draw(rank, shape[1] // 2)}
    parts["lokr_t2"] = draw(rank, rank, *shape[2:])
    second = np.einsum("ijkl,ip,jr->prkl", parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    return parts, kronecker(parts["lokr_w1"], second), rank


def whole(draw, shape):
    diff = draw(*shape)
    return {"diff": diff}, diff, None


METHODS = {f.__name__: f for f in (low_rank, low_rank_in_the_middle, loha, lokr, lokr_of_products, whole)}
OF_KERNELS = {f.__name__: f for f in (loha_of_tucker, lokr_of_tucker)}


def drawing(seed=0):
    """draw(*shape) -> float64 numbers that fp32 holds."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def write(path, elements, stem="lora_unet_to_q", metadata=None, **more):
    """Write elements of one layer, and more by whole keys."""
    arrays = {f"{stem}.{name}": x for name, x in elements.items()} | more
    arrays = {key: np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 else x for key, x in arrays.items()}
    write_safetensors(path, arrays, {"format": "pt", **(metadata or {})})
    return path
