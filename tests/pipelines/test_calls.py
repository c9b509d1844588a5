"""What all pipelines have in common for a user: outputs, callbacks, arguments, `to`, `save_pretrained`, switches."""

import functools
import inspect

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.calls import OUTPUT_TYPES, chunks_without_gradients
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from tests.pipelines.easy_animate.test_pipeline import make as make_easy
from tests.pipelines.easy_animate.test_pipeline import text
from tests.pipelines.stable_animator import test_pipeline as stable
from tests.support.easy_folders import write_easy

CLASSES = (Pose2VideoPipeline, StableAnimatorPipeline, EasyAnimatePipeline, EasyAnimateInpaintPipeline)
stable_pipeline = stable.pipeline


@pytest.fixture
def calls(make_pipeline, stable_pipeline, reference_image, poses):
    """Class -> what calls a pipeline of it, with options, for what it returns: in one step, of so many frames."""
    easy = {cls: make_easy(cls, 4) for cls in CLASSES[2:]}
    given = {"generator": None, "num_inference_steps": 1}
    pose = functools.partial(make_pipeline(), reference_image, poses[:2], 64, 80, guidance_scale=1.0, **given)
    face = np.zeros(512, np.float32)
    pictures = [stable.picture(1), stable.picture(2)]
    animated = functools.partial(stable_pipeline, stable.picture(), pictures, face, 128, 128, **given)
    found = {Pose2VideoPipeline: pose, StableAnimatorPipeline: animated}
    for cls, pipeline in easy.items():
        pipeline.set_progress_bar_config(disable=True)
        sizes = {"height": 32, "width": 48, "num_frames": 8, "guidance_scale": 1.0}
        found[cls] = functools.partial(pipeline, text(), **sizes, **given)
    return found


@pytest.fixture
def nothing_may_run(monkeypatch):
    for cls in CLASSES:
        for name in ("encode_poses", "embed_both", "_denoise", "decode", "encode_clip"):
            if hasattr(cls, name):
                monkeypatch.setattr(cls, name, lambda *_, **__: pytest.fail("something is computed"))


CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@CLASS
def test_callback_may_end_the_call_after_its_step(calls, cls):
    steps = []

    def stop(pipeline, step, timestep, tensors):
        steps.append((step, pipeline.interrupt))
        pipeline._interrupt = step == 1

    call = functools.partial(calls[cls], output_type="latent", callback_on_step_end=stop)
    stopped = call(num_inference_steps=4)[0]
    assert steps == [(0, False), (1, False)] and bool(paddle.isfinite(stopped).all())
    steps.clear()
    call(num_inference_steps=1)  # the next call begins anew
    assert steps == [(0, False)]


def shape_of(output):
    if isinstance(output, list):
        return ["list", len(output), *shape_of(output[0])]
    return [type(output).__name__, *(output.size if isinstance(output, PIL.Image.Image) else output.shape)]


@CLASS
def test_output_is_of_the_type_that_was_asked_for(calls, cls):
    call = calls[cls]
    (decoded,) = call(return_dict=False)
    frames, height, width = decoded.shape[2:]
    assert decoded.shape[:2] == [1, 3] and 0 <= float(decoded.min()) <= float(decoded.max()) <= 1
    kinds = {kind: call(output_type=kind, return_dict=False)[0] for kind in OUTPUT_TYPES}
    assert isinstance(kinds["pd"], paddle.Tensor) and isinstance(kinds["np"], np.ndarray)
    assert list(kinds["np"].shape) == [1, 3, frames, height, width]
    pictures = kinds["pil"][0] if cls in CLASSES[2:] else kinds["pil"]
    assert [picture.size for picture in pictures] == [(width, height)] * frames
    assert isinstance(kinds["latent"], paddle.Tensor) and min(kinds["latent"].shape[-2:]) == min(height, width) // 8
    output = call(output_type="latent")
    assert (output.videos if cls is Pose2VideoPipeline else output.frames).shape == kinds["latent"].shape


@CLASS
@pytest.mark.parametrize("kind", ["mp4", "PD", "", None, 3, ["pd"], {}, "x" * 10**6, "pt", "latents", b"pd"])
def test_other_output_is_refused_before_anything_is_computed(calls, nothing_may_run, cls, kind):
    with pytest.raises(InputError, match="output_type .* is not known; use one of pd, np, pil, latent") as caught:
        calls[cls](output_type=kind)
    assert len(str(caught.value)) < 300


@CLASS
def test_callback_that_is_none_and_its_inputs_are_refused_before_anything_is_computed(calls, nothing_may_run, cls):
    for callback in ("print", 3, {"latents": 1}, [print]):
        with pytest.raises(InputError, match="callback_on_step_end .* cannot be called"):
            calls[cls](callback_on_step_end=callback)
    for names in (("latents", "noise"), "noise", [3], [["latents"]], {"latents": 1}, 7, ["prompt_embeds"]):
        with pytest.raises(InputError, match="callback_on_step_end_tensor_inputs .* is not known"):
            calls[cls](callback_on_step_end=print, callback_on_step_end_tensor_inputs=names)


@CLASS
def test_callback_is_told_each_step_and_its_latents_count(calls, cls):
    seen = []

    def answering(answer):
        def callback(pipeline, step, timestep, tensors):
            seen.append((type(pipeline), step, float(timestep), list(tensors)))
            return answer(tensors)

        return callback

    def run(**options):
        return calls[cls](
            num_inference_steps=2, latents=None, output_type="latent", return_dict=False, **options
        )[0]  # fmt: skip

    paddle.seed(0)
    plain = run()
    unchanging = (lambda _: None, lambda _: {}, lambda given: given, lambda given: {"latents": given["latents"]})
    for answer in unchanging:
        paddle.seed(0)
        assert bool((run(callback_on_step_end=answering(answer)) == plain).all())
    assert {(kind, tuple(names)) for kind, _, _, names in seen} == {(cls, ("latents",))}
    assert [step for _, step, _, _ in seen] == [0, 1] * 4
    changed = run(
        callback_on_step_end=answering(lambda given: {"latents": (given["latents"] * 0 + 0.5).astype("float64")})
    )
    assert changed.dtype == plain.dtype and float((changed - 0.5).abs().max()) == 0
    run(callback_on_step_end=answering(lambda _: None), callback_on_step_end_tensor_inputs=())
    assert seen[-1][3] == []


@CLASS
def test_what_no_callback_may_return_is_refused(calls, cls):
    def run(answer):
        calls[cls](output_type="latent", callback_on_step_end=lambda *arguments: answer(arguments[-1]["latents"]))

    for wrong in (3, "latents", [1], True, {"noise": 1}, {"latents": None}, {"latents": 3}, {"latents": [[1.0]]}):
        with pytest.raises(InputError, match="callback_on_step_end returned"):
            run(lambda _, wrong=wrong: wrong)
    with pytest.raises(InputError, match="callback_on_step_end returned"):
        run(lambda latents: latents)
    with pytest.raises(
        InputError, match=r"callback_on_step_end returned latents of \[.*\]; a tensor of \[.*\] is needed"
    ):
        run(lambda latents: {"latents": latents[..., :-1]})
    with pytest.raises(NonFiniteError, match="callback_on_step_end returned after step 1 are not finite"):
        run(lambda latents: {"latents": latents * float("nan")})


def test_calls_have_the_same_names_for_the_same_things():
    shared = {"output_type", "return_dict", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "generator"}
    shared |= {"latents", "num_inference_steps", "height", "width", "guidance_interval"}
    for cls in CLASSES:
        assert shared <= set(inspect.signature(cls.__call__).parameters)


@CLASS
def test_unknown_argument_of_a_call_is_an_error(calls, nothing_may_run, cls):
    with pytest.raises(TypeError, match="nonsense"):
        calls[cls](nonsense=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, parts, stable_pipeline):
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler

    root = tmp_path_factory.mktemp("saved")
    Pose2VideoPipeline(**parts, scheduler=make_scheduler("DDIM")).save_pretrained(root / "Pose2VideoPipeline")
    stable_pipeline.save_pretrained(root / "StableAnimatorPipeline")
    write_easy(root / "EasyAnimatePipeline", "v4_t2v")
    write_easy(root / "EasyAnimateInpaintPipeline", "v4")
    return root


UNKNOWN = {
    "nonsense": None, "dytpe": "'dtype'", "Memory": "'memory'", "torch_dtype": "'dtype'", "variant": None,
    "from_hf_hub": None, "custom_pipeline": None, "trust_remote_code": None, "low_cpu_mem_usage": None, "": None,
    "use_safetensors": None, "local_files_only": None, "cache_dir": None, "subfolder": None, "model": None,
    "pretrained_model_name_or_path": None, "safety_checker": None, "requires_safety_checker": None,
}  # fmt: skip


@CLASS
def test_unknown_argument_of_from_pretrained_is_named_with_the_nearest(folders, cls):
    for name, near in UNKNOWN.items():
        for value in (True, None, "x" * 10**5):
            with pytest.raises(InputError, match=f"unknown option.*: '{name}'; .*{near or 'accepted|mean'}") as caught:
                cls.from_pretrained(folders / cls.__name__, **{name: value})
            assert len(str(caught.value)) < 300


@CLASS
@pytest.mark.parametrize(
    "options",
    [
        *({"dtype": dtype} for dtype in ("fp33", 3, ["fp32"], "int8", "paddle", paddle.int8, "x" * 10**5)),
        *({"paddle_dtype": dtype} for dtype in ("nonsense", paddle.float64)),
        *({"memory": memory} for memory in ("huge", None, 3, ["low"])),
        *({"device": device} for device in ("tpu", "gpu:x", 3, None)),
        *({"engine": engine} for engine in ("tensorrt", 3, ["onnx"])),
        {"dtype": "fp32", "paddle_dtype": paddle.float32},
        {"engine": "onnx", "dtype": "bf16"},
    ],
    ids=lambda options: str(options)[:40],
)
def test_value_that_does_not_fit_is_refused(folders, cls, options):
    with pytest.raises(InputError, match="known|accepted|is not there|needs") as caught:
        cls.from_pretrained(folders / cls.__name__, **options)
    assert len(str(caught.value)) < 400


@CLASS
@pytest.mark.parametrize("name", ["dtype", "paddle_dtype"])
def test_dtype_is_that_of_the_weights(folders, cls, name):
    for dtype in ("bf16", "bfloat16", paddle.bfloat16):
        pipeline = cls.from_pretrained(folders / cls.__name__, device="cpu", **{name: dtype})
        for part in pipeline.network_names:
            expected = paddle.float32 if part in ("vae", "image_encoder") else paddle.bfloat16
            assert next(iter(getattr(pipeline, part).parameters())).dtype == expected, part


@CLASS
def test_memory_and_engine_are_used(folders, cls, tmp_path):
    pipeline = cls.from_pretrained(folders / cls.__name__, memory="low", engine="onnx", engine_cache=str(tmp_path))
    assert pipeline._releases and pipeline._engine.fixed_shapes
    assert not cls.from_pretrained(folders / cls.__name__)._releases


@pytest.mark.parametrize("cls", CLASSES[:2], ids=lambda cls: cls.__name__)
def test_parts_may_be_given_in_the_place_of_the_folders(folders, cls):
    from ppdiffusers_ext.pipelines.schedulers import make_scheduler

    folder, scheduler = folders / cls.__name__, make_scheduler("DPM++")
    first = cls.from_pretrained(folder)
    second = cls.from_pretrained(folder, scheduler=scheduler, vae=first.vae)
    assert second.scheduler is scheduler and second.vae is first.vae
    for wrong in ({"vae": "payload"}, {"vae": None}, {"scheduler": first.vae}, {"image_encoder": ["a", "b"]}):
        with pytest.raises(InputError, match="is accepted, or nothing for that of the folder"):
            cls.from_pretrained(folder, **wrong)


@pytest.mark.parametrize("cls", CLASSES[:2], ids=lambda cls: cls.__name__)
def test_saved_pipeline_of_networks_that_were_not_in_memory_is_whole(folders, cls, tmp_path):
    low = cls.from_pretrained(folders / cls.__name__, memory="low")
    low.save_pretrained(tmp_path / "again")
    states = [cls.from_pretrained(path) for path in (folders / cls.__name__, tmp_path / "again")]
    for name in cls.network_names:
        first, second = (getattr(pipeline, name).state_dict() for pipeline in states)
        assert [key for key in first if not bool((first[key] == second[key]).all())] == []


@CLASS
def test_unknown_argument_of_save_pretrained_is_refused_and_nothing_written(folders, calls, cls, tmp_path):
    pipeline = calls[cls].func
    for name in ("nonsense", "push_to_hub", "save_to_aistudio", "safe_serialisation"):
        with pytest.raises(InputError, match=f"unknown option of save_pretrained: '{name}'"):
            pipeline.save_pretrained(tmp_path / "new", **{name: True})
    assert not (tmp_path / "new").exists()


@CLASS
def test_networks_move_to_another_dtype_and_back(folders, cls):
    pipeline = cls.from_pretrained(folders / cls.__name__, device="cpu")
    for arguments, options in (
        (("bf16",), {}), ((paddle.float32,), {}), (("cpu", paddle.bfloat16), {}), ((), {"dtype": "float32"}),
        ((), {"paddle_dtype": paddle.bfloat16, "device": "cpu"}), (("cpu",), {}),
    ):  # fmt: skip
        assert pipeline.to(*arguments, **options) is pipeline
        dtypes = {next(iter(getattr(pipeline, name).parameters())).dtype for name in pipeline.network_names}
        given = str([*arguments, *options.values()])
        if "float32" in given:
            assert dtypes == {paddle.float32}
        elif "bf16" in given or "BFLOAT16" in given.upper():
            assert dtypes == {paddle.float32, paddle.bfloat16}


@CLASS
def test_what_no_pipeline_moves_to_is_refused(calls, cls):
    pipeline = calls[cls].func
    for arguments, options in (
        (("tpu",), {}), (("cpu", "cpu"), {}), (("fp32", "fp32"), {}), (("cpu", "fp32", "cpu"), {}), ((3,), {}),
        ((), {"nonsense": 1}), ((), {"torch_dtype": "fp32"}), ((), {"dtype": "fp33"}), ((paddle.int8,), {}),
        (("cpu",), {"device": "cpu"}), ((), {"dtype": "fp32", "paddle_dtype": "fp32"}), ((["cpu"],), {}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            pipeline.to(*arguments, **options)


def test_chunks_leave_gradients_as_they_are_while_they_wait():
    @chunks_without_gradients
    def make():
        for _ in range(3):
            yield paddle.is_grad_enabled()

    chunks = make()
    assert not next(chunks) and paddle.is_grad_enabled()
    with paddle.no_grad():
        assert not next(chunks)
    assert paddle.is_grad_enabled() and list(chunks) == [False] and paddle.is_grad_enabled()
