"""A stand-in for ComfyUI, and nodes of other packages that workflows have."""

import numpy as np
import pytest

from tests.support import comfy_host


@pytest.fixture
def host(tmp_path):
    """A `comfy_host.Host` in whose folders there is nothing yet."""
    with comfy_host.standing_in(tmp_path) as found:
        yield found


@pytest.fixture
def nodes(host):
    """All nodes by id."""
    from ppdiffusers_ext.comfyui import NODE_CLASS_MAPPINGS

    return dict(NODE_CLASS_MAPPINGS)


class Source:
    """A node of another package that gives an IMAGE: `frames`."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load"
    frames: np.ndarray

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"image": ("STRING", {}), "upload": ("STRING", {})}}

    def load(self, **_):
        return comfy_host.from_numpy(self.frames), None


class Sink:
    """A node of another package that takes an IMAGE, such as VHS_VideoCombine."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "take"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def take(self, images, **_):
        return (images,)
