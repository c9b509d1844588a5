"""numpy's arrays and Paddle's tensors on the CPU, one as the other without a copy. bf16 is its bits in uint16."""

import numpy as np
import paddle

# numpy has no bf16: Paddle's convention is to hold its bits in uint16.
BFLOAT16_BITS = np.dtype(np.uint16)


def to_array(tensor):
    """A tensor as an array, which shares the memory of one that lies on the CPU."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == paddle.bfloat16:
        return to_array(tensor.view("int16")).view(BFLOAT16_BITS)
    return np.from_dlpack(tensor) if tensor.size else np.empty(tensor.shape, tensor.numpy().dtype)


def to_tensor(array):
    """An array as a tensor, which shares its memory."""
    if array.size == 0:  # which Paddle cannot make a view of
        return paddle.zeros(array.shape, "bfloat16" if array.dtype == BFLOAT16_BITS else str(array.dtype))
    return paddle.Tensor(array, place=paddle.CPUPlace(), zero_copy=True)
