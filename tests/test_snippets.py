"""The Python blocks of all pages run, on small models in the places of the released ones.

Blocks run as they are written, in a folder that has the files and folders that they name, but for the size, the number
of steps and the dtype of what is made. A block that cannot be run has `<!-- not run: REASON -->` before it.
"""

import ast
import re

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.pipelines.animate_anyone import conversion as animate_conversion
from ppdiffusers_ext.pipelines.stable_animator import conversion as stable_conversion
from ppdiffusers_ext.weights.writing import write_torch
from tests.pipelines.stable_animator.test_pipeline import pipeline
from tests.support.easy_folders import write_easy
from tests.support.pages import PAGES, ROOT, read
from tests.support.painted_faces import painted_faces, write_face_networks

__all__ = ["pipeline"]  # a fixture

SMALL = {"width": 64, "height": 64, "num_frames": 8, "num_inference_steps": 1}
_BLOCK = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n+)?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks():
    """(page, number, code, reason why it is not run or None); a block that pages share, but for comments, is one."""
    found = {}
    for page in PAGES:
        for number, (reason, code) in enumerate(_BLOCK.findall(read(page))):
            found.setdefault(ast.dump(ast.parse(code)), (page, number, code, reason or None))
    return list(found.values())


BLOCKS = blocks()


@pytest.fixture(scope="module")
def place(tmp_path_factory, pipeline):
    """A folder with what the pages' blocks name."""
    folder = tmp_path_factory.mktemp("snippets")
    for name in ("assets", "configs"):
        (folder / name).symlink_to(ROOT / name)
    pipeline.save_pretrained(folder / "folder")
    weights = folder / "pretrained_weights" / "stable_animator"
    stable_conversion.to_torch(folder / "folder", weights)
    write_face_networks(weights)
    animate_conversion.to_torch(ROOT / "assets" / "demo_model", folder / "animate_anyone")
    write_easy(folder / "EasyAnimateV4-XL-2-InP", "v4")
    write_torch(folder / "denoising_unet.pth", {"conv_in.weight": np.ones((4, 4), np.float32)})
    clip = synthetic_clip(3, 2, 64, 64)
    for name in ("person.png", "dog.png"):
        PIL.Image.fromarray(clip.reference).save(folder / name)
    for name in ("skeletons.mp4", "dance_kps.mp4"):
        with VideoWriter(folder / name, clip.fps, 64, 64) as writer:
            writer.write(clip.pose)
    return folder


def given():
    """What the blocks have of the text around them."""
    clip = synthetic_clip(4, 2, 64, 64)
    picture, skeletons = PIL.Image.fromarray(clip.reference), [PIL.Image.fromarray(frame) for frame in clip.pose]
    return {
        "picture": picture,
        "skeletons": skeletons,
        "face_embedding": np.zeros(512, np.float32),
        "frame": painted_faces((128, 128), (30, 20, 70, 70)),
        "truth": clip.target,
        "prediction": clip.target // 2,
    }


class _Small(ast.NodeTransformer):
    """Makes calls of a pipeline small, and opens it in fp32, which is quicker on a CPU than bf16."""

    def visit_Call(self, node):  # noqa: N802 (ast's name)
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "pipeline":
            named = {keyword.arg for keyword in node.keywords} | {"num_inference_steps"}
            kept = [keyword for keyword in node.keywords if keyword.arg not in SMALL]
            small = [ast.keyword(name, ast.Constant(SMALL[name])) for name in SMALL if name in named]
            node.keywords = kept + small
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in ("dtype", "paddle_dtype")]
        return node


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block[0].name}-{block[1]}")
def test_block_runs_and_makes_what_it_says(block, place, monkeypatch):
    page, _, code, reason = block
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.chdir(place)
    paddle.seed(0)
    names = given()
    tree = ast.fix_missing_locations(_Small().visit(ast.parse(code)))
    exec(compile(tree, str(page), "exec"), names)
    for name in re.findall(r"\.save(?:_pretrained)?\(\"([^\"]+)\"", code):
        assert (place / name).exists(), name
    for name in ("video", "frames"):
        if (value := names.get(name)) is not None:
            assert _pixels(getattr(value, "frames", value)).std() > 0, name


def _pixels(frames):
    """Numbers of tensors or of lists of pictures."""
    return np.asarray([np.asarray(frame) for frame in frames], np.float32)


def test_few_blocks_are_not_run_and_each_says_why():
    left_out = [(page.name, reason) for page, _, _, reason in BLOCKS if reason is not None]
    assert len(BLOCKS) >= 12 and len(left_out) <= 1, left_out
    assert all(len(reason) > 20 for _, reason in left_out)
