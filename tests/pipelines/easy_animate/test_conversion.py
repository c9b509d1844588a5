"""EasyAnimate's folders of every version from the original's form to ours and back: nothing lost or changed."""

import json
import shutil

import numpy as np
import paddle
import pytest
import yaml

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D, PixArtTransformer3D
from ppdiffusers_ext.pipelines.easy_animate.conversion import to_paddle, to_torch
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.loading import MOTION_MODULE, check_parts, describe_parts
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.loading import load_tensors
from ppdiffusers_ext.weights.writing import write_safetensors
from scripts import convert_weights
from scripts.command import run
from tests.pipelines.animate_anyone.test_conversion import assert_same, contents
from tests.support.easy_folders import PARTS, config_for, shard, v1_options, write_easy
from tests.weights.test_lora import write as write_lora

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
OURS = {
    "v4": HunyuanTransformer3D,
    "v4_t2v": HunyuanTransformer3D,
    "v3": PixArtTransformer3D,
    "v2": PixArtTransformer3D,
    "v1": PixArtTransformer3D,
}


def options_of(version):
    return v1_options() if version == "v1" else {}


def states(config):
    return {
        part: {name: to_array(tensor).copy() for name, tensor in described.load().state_dict().items()}
        for part, described in describe_parts(config).items()
    }


def assert_equal_states(ours, theirs):
    assert ours.keys() == theirs.keys()
    for part, state in theirs.items():
        assert ours[part].keys() == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(ours[part][name], array, err_msg=f"{part} {name}")


@pytest.mark.parametrize("version", PARTS)
def test_original_comes_back_bit_by_bit(tmp_path, version):
    files = write_easy(tmp_path / "original", version)
    if version in ("v4", "v3"):
        shard(tmp_path / "original" / TRANSFORMER, files[TRANSFORMER])
        shard(tmp_path / "original" / "text_encoder" / "model.safetensors", files["text_encoder/model.safetensors"], 2)
    there, back = tmp_path / "there", tmp_path / "back"
    to_paddle(tmp_path / "original", there, transformer=options_of(version))
    reports = {report.part: report for report in to_torch(there, back)}
    for file, arrays in files.items():
        assert_same(back / file, arrays)
    expected = {TRANSFORMER: len(files[TRANSFORMER])}
    if version == "v1":
        expected = {MOTION_MODULE: len(files[MOTION_MODULE]), **expected}
    assert reports["transformer"].files == expected
    tokens = [path.relative_to(back) for path in (back / "tokenizer").iterdir()]
    assert tokens
    for name in (*tokens, "scheduler/scheduler_config.json", "text_encoder/config.json"):
        assert (back / name).read_bytes() == (tmp_path / "original" / name).read_bytes()
    to_paddle(back, tmp_path / "again")  # also V1's, whose options of motion modules are beside its files
    assert contents(tmp_path / "again") == contents(there)
    to_torch(tmp_path / "again", tmp_path / "back again")
    assert contents(tmp_path / "back again") == contents(back)


def test_options_that_the_original_does_not_know_come_back(tmp_path):
    write_easy(tmp_path / "original", "v4")
    to_paddle(tmp_path / "original", tmp_path / "there", transformer={"rotates_first_block": False})
    to_torch(tmp_path / "there", tmp_path / "back")
    to_paddle(tmp_path / "back", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "there")
    assert not json.loads((tmp_path / "again" / "transformer" / "config.json").read_text())["rotates_first_block"]


@pytest.mark.parametrize("version", PARTS)
def test_all_three_folders_load_as_the_same(tmp_path, version):
    write_easy(tmp_path / "original", version)
    expected = states(config_for(tmp_path / "original", version))
    to_paddle(tmp_path / "original", tmp_path / "there", transformer=options_of(version))
    check_parts(EasyAnimateConfig(model=str(tmp_path / "there")))
    assert_equal_states(states(EasyAnimateConfig(model=str(tmp_path / "there"))), expected)
    to_torch(tmp_path / "there", tmp_path / "back")
    assert_equal_states(states(config_for(tmp_path / "back", version)), expected)


@pytest.mark.parametrize("version", PARTS)
def test_parts_are_what_from_pretrained_reads(tmp_path, version):
    write_easy(tmp_path / "original", version)
    parts = describe_parts(config_for(tmp_path / "original", version))
    to_paddle(tmp_path / "original", tmp_path / "there", transformer=options_of(version))
    classes = {"transformer": OURS[version], **({} if version == "v1" else {"vae": AutoencoderKLMagvit})}
    for name, cls in classes.items():
        model, expected = cls.from_pretrained(str(tmp_path / "there" / name)), parts[name].load()
        for key, tensor in expected.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[key].numpy(), tensor.numpy())
        own = {key: value for key, value in expected.config.items() if not key.startswith("_")}
        assert {key: model.config[key] for key in own} == own


def test_tables_are_kept_once(tmp_path):
    files = write_easy(tmp_path / "original", "v4")
    (report,) = [r for r in to_paddle(tmp_path / "original", tmp_path / "there") if r.part == "transformer"]
    tables = [name for name in files[TRANSFORMER] if name.endswith((".pe", "pos_embed"))]
    assert report.files["transformer/unused.safetensors"] == len(tables) > 2
    assert report.left_out == []
    kept = load_tensors(tmp_path / "there" / "transformer" / "unused.safetensors")
    assert len(kept) == len({files[TRANSFORMER][name].tobytes() for name in tables}) < len(tables)


def test_what_the_vae_was_trained_with_comes_back(tmp_path):
    write_easy(tmp_path / "original", "v4")
    path = tmp_path / "original" / "vae" / "diffusion_pytorch_model.safetensors"
    arrays = {name: to_array(tensor).copy() for name, tensor in load_tensors(path).items()}
    arrays["loss.discriminator.main.3.weight"] = np.arange(5, dtype=np.float32)
    arrays["loss.discriminator.main.3.num_batches_tracked"] = np.array(1234)
    write_safetensors(path, arrays, {"format": "pt"})
    reports = {report.part: report for report in to_paddle(tmp_path / "original", tmp_path / "there")}
    assert reports["vae"].files["vae/unused.safetensors"] == 2 and reports["vae"].left_out == []
    describe_parts(EasyAnimateConfig(model=str(tmp_path / "there")))["vae"].load()
    to_torch(tmp_path / "there", tmp_path / "back")
    assert_same(tmp_path / "back" / "vae" / "diffusion_pytorch_model.safetensors", arrays)


def test_dtype_is_that_of_all_numbers(tmp_path):
    write_easy(tmp_path / "original", "v4")
    to_paddle(tmp_path / "original", tmp_path / "half", "bf16")
    to_torch(tmp_path / "half", tmp_path / "back")
    for folder in ("half", "back"):
        for path in (tmp_path / folder).rglob("*.safetensors"):
            assert {str(tensor.dtype) for tensor in load_tensors(path).values()} == {"paddle.bfloat16"}, path
    part = describe_parts(EasyAnimateConfig(model=str(tmp_path / "half")))["transformer"]
    assert part.load().proj_out.weight.dtype == paddle.float32


def test_wrong_and_missing_files_leave_nothing(tmp_path):
    files = write_easy(tmp_path / "original", "v3")
    shards = shard(tmp_path / "original" / TRANSFORMER, files[TRANSFORMER])
    (tmp_path / "original" / "transformer" / shards[0]).unlink()
    with pytest.raises(MissingFileError, match=f"{shards[0]} does not exist"):
        to_paddle(tmp_path / "original", tmp_path / "there")
    shutil.rmtree(tmp_path / "original")
    write_easy(tmp_path / "original", "v3")
    write_safetensors(tmp_path / "original" / TRANSFORMER, {"x": np.zeros(2, np.float32)}, {"format": "pt"})
    with pytest.raises(InputError, match="does not hold the weights of this PixArtTransformer3D"):
        to_paddle(tmp_path / "original", tmp_path / "there")
    with pytest.raises(
        InputError, match="is in the original's form already, with a Transformer3DModel; a folder with"
    ):
        to_torch(tmp_path / "original", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_notes_that_cannot_be_read_are_told(tmp_path):
    write_easy(tmp_path / "original", "v4")
    to_paddle(tmp_path / "original", tmp_path / "there")
    path = tmp_path / "there" / "transformer" / "unused.safetensors"
    write_safetensors(path, {"a": np.zeros(2, np.float32)}, {"format": "pt", "names": json.dumps({"x.pe": "b"})})
    with pytest.raises(InputError, match="unused.safetensors has notes of the original's names that cannot be read"):
        to_torch(tmp_path / "there", tmp_path / "back")


def test_command_converts_v1_both_ways(tmp_path, capsys):
    files = write_easy(tmp_path / "original", "v1")
    (tmp_path / "original" / MOTION_MODULE).rename(tmp_path / "mm.safetensors")
    (tmp_path / "v1.yaml").write_text(yaml.safe_dump({"transformer": v1_options()}))

    def convert(*arguments, system="easy_animate"):
        words = [*map(str, arguments), "--system", system]
        return run(convert_weights.make_parser(), convert_weights.work, words)

    more = ("--config", tmp_path / "v1.yaml", "--motion-module", tmp_path / "mm.safetensors")
    assert convert(tmp_path / "original", tmp_path / "there", "--to", "paddle") == 2
    assert "motion_module_path, the file easyanimate_v1_mm.safetensors, is needed" in capsys.readouterr().err
    assert convert(tmp_path / "original", tmp_path / "there", "--to", "paddle", *more) == 0
    assert convert(tmp_path / "there", tmp_path / "back", "--to", "torch") == 0
    assert f"{len(files[MOTION_MODULE])} in {MOTION_MODULE}" in capsys.readouterr().out
    for file, arrays in files.items():
        assert_same(tmp_path / "back" / file, arrays)
    for arguments, what in (
        (("--to", "torch", *more[:2]), "--config cannot be used with --to torch"),
        (("--to", "paddle", "--vae", "x"), "--vae cannot be used with --system easy_animate"),
    ):
        assert convert(tmp_path / "original", tmp_path / "x", *arguments) == 2
        assert what in capsys.readouterr().err
    assert convert(tmp_path / "x", tmp_path / "y", "--to", "paddle", *more[2:], system="stable_animator") == 2
    assert "--motion-module cannot be used with --system stable_animator" in capsys.readouterr().err
    (tmp_path / "v1.yaml").write_text("transformer: 3")
    assert convert(tmp_path / "original", tmp_path / "x", "--to", "paddle", *more) == 2
    assert "transformer is 3; options by name are accepted" in capsys.readouterr().err


def test_both_forms_make_the_same_video(tmp_path):
    write_easy(tmp_path / "original", "v4")
    to_paddle(tmp_path / "original", tmp_path / "ours")
    given = {
        "height": 32,
        "width": 32,
        "num_frames": 8,
        "num_inference_steps": 1,
        "latents": paddle.randn([1, 4, 2, 4, 4]),
    }
    videos = []
    for name in ("original", "ours"):
        pipeline = EasyAnimateInpaintPipeline.from_pretrained(tmp_path / name, device="cpu")
        pipeline.set_progress_bar_config(disable=True)
        videos.append(pipeline("a dog", "the cat", **given).frames.numpy())
    assert np.array_equal(*videos)


def test_loras_are_merged_on_either_way(tmp_path, capsys):
    write_easy(tmp_path / "original", "v4")
    to_paddle(tmp_path / "original", tmp_path / "ours")
    of_network = {"blocks_0_attn1_to_q": (32, 32), "proj_out": (32, 32)}
    arrays = write_lora(tmp_path / "a.safetensors", of_network)
    arrays |= write_lora(
        tmp_path / "b.safetensors", {"encoder_layer_0_attention_self_query": (24, 24)}, 1, 3, "lora_te_"
    )
    both = {**arrays, **write_lora(tmp_path / "c.safetensors", {"proj_out": (32, 32)}, 2)}
    write_safetensors(tmp_path / "b.safetensors", both, {})
    given = ["--lora", tmp_path / "a.safetensors", "0.5", "--lora", tmp_path / "b.safetensors", "-2"]

    def convert(source, target, to, *more):
        words = [source, target, "--to", to, "--system", "easy_animate", *more]
        return run(convert_weights.make_parser(), convert_weights.work, list(map(str, words)))

    assert convert(tmp_path / "original", tmp_path / "merged", "paddle", *given) == 0
    assert convert(tmp_path / "ours", tmp_path / "torch", "torch", *given) == 0
    loras = [(str(tmp_path / "a.safetensors"), 0.5), (str(tmp_path / "b.safetensors"), -2.0)]
    expected = states(config_for(tmp_path / "original", "v4", loras=loras))
    for folder in ("merged", "torch"):
        assert_equal_states(states(config_for(tmp_path / folder, "v4")), expected)
    plain = states(config_for(tmp_path / "ours", "v4"))
    changed = [
        key for part in plain for key in plain[part] if not np.array_equal(expected[part][key], plain[part][key])
    ]
    assert changed == ["blocks.0.attn1.to_q.weight", "proj_out.weight", "encoder.layers.0.self_attn.q_proj.weight"]
    assert convert(tmp_path / "original", tmp_path / "merged", "paddle", *given, "--skip-existing") == 0
    other = [*given[:5], "1"]
    assert convert(tmp_path / "original", tmp_path / "merged", "paddle", *other, "--skip-existing") == 2
    assert "weight of --lora 2 was -2.0 and is 1.0" in capsys.readouterr().err


def test_loras_that_cannot_be_merged_leave_nothing(tmp_path, capsys):
    write_easy(tmp_path / "original", "v4")
    words = [tmp_path / "original", tmp_path / "x", "--to", "paddle", "--system", "easy_animate", "--lora"]
    words = list(map(str, [*words, tmp_path / "a.safetensors"]))
    for sizes, weight, message in (
        (None, "1", "a.safetensors does not exist"),
        ({"proj_out": (32, 32)}, "nan", "has the weight nan; a finite number"),
        ({"proj_out": (32, 32)}, "much", "has the weight 'much'; a finite number"),
        ({"proj_out": (31, 32)}, "1", "is of another model: proj_out takes 31 numbers"),
        ({"blocks_9_attn1_to_q": (32, 32)}, "1", "is of another model, which has lora_unet__blocks_9_attn1_to_q"),
    ):
        if sizes:
            write_lora(tmp_path / "a.safetensors", sizes)
        assert run(convert_weights.make_parser(), convert_weights.work, [*words, weight]) == 2
        assert message in capsys.readouterr().err
    words[5] = "stable_animator"
    assert run(convert_weights.make_parser(), convert_weights.work, [*words, "1"]) == 2
    assert "--lora cannot be used with --system stable_animator" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
