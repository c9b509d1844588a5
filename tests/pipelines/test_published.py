"""Published checkpoints: what the lists say, and EasyAnimate's names, addresses and places, of its README at V4."""

import re

import pytest

from ppdiffusers_ext.data.chain.network_files import FILES
from ppdiffusers_ext.pipelines.published import PUBLISHED, read_published
from ppdiffusers_ext.pipelines.systems import SYSTEMS
from ppdiffusers_ext.training.easy_animate.autoencoder_check import LINEAR, VGG
from ppdiffusers_ext.weights.inventory import items_of
from ppdiffusers_ext.weights.sources import sources_of

BUCKET = "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/easyanimate"
ALL, FROM_TEXT = "scripts.predict_t2v, scripts.predict_i2v, scripts.predict_v2v", "scripts.predict_t2v"
ARCHIVES = {
    "EasyAnimateV4-XL-2-InP.tar.gz": ALL,
    "EasyAnimateV3-XL-2-InP-512x512.tar": ALL,
    "EasyAnimateV3-XL-2-InP-768x768.tar": ALL,
    "EasyAnimateV3-XL-2-InP-960x960.tar": ALL,
    "EasyAnimateV2-XL-2-512x512.tar": FROM_TEXT,
    "EasyAnimateV2-XL-2-768x768.tar": FROM_TEXT,
    "PixArt-XL-2-512x512.tar": FROM_TEXT,
}
ENTRIES = {entry.name: entry for entry in read_published("easy_animate")}


def test_every_system_has_checkpoints_and_none_stands_twice():
    names = [entry.name for entry in PUBLISHED]
    assert len(set(names)) == len(names)
    assert {system for entry in PUBLISHED for system in entry.systems} == set(SYSTEMS)


@pytest.mark.parametrize("entry", PUBLISHED, ids=[entry.name for entry in PUBLISHED])
def test_entry_names_known_systems_and_whole_hashes(entry):
    assert set(entry.systems) <= set(SYSTEMS) and entry.systems and entry.sources and entry.files
    for file in entry.files:
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
        assert all(number is None or type(number) is int and number > 0 for number in (file.size, file.about))


def addresses(entry):
    (item,) = items_of([entry])
    return [source.url for source in sources_of(item)]


def test_all_of_easy_animate_is_there():
    names = [archive.removesuffix(".gz").removesuffix(".tar") for archive in ARCHIVES]
    assert sorted(ENTRIES) == sorted([*names, "easyanimate_v1_mm", "LPIPS", "LPIPS-vgg16"])
    assert [name for name, entry in ENTRIES.items() if entry.by_default] == ["EasyAnimateV4-XL-2-InP"]


@pytest.mark.parametrize("archive, needed_by", ARCHIVES.items())
def test_archives_become_folders_of_their_names(archive, needed_by):
    name = archive.removesuffix(".gz").removesuffix(".tar")
    entry = ENTRIES[name]
    (file,) = entry.files
    assert (entry.folder, file.path, entry.needed_by) == ("Diffusion_Transformer", name, needed_by)
    assert {"model_index.json", "transformer/config.json", "vae/config.json"} == set(file.members)
    assert addresses(entry) == [f"{BUCKET}/Diffusion_Transformer/{archive}"]


def test_weights_of_lpips_are_where_the_trainer_looks():
    files = {file.path: (file, name) for name in ("LPIPS", "LPIPS-vgg16") for file in ENTRIES[name].files}
    assert {ENTRIES[name].folder for _, name in files.values()} == {"LPIPS"}
    assert set(files) == {VGG, LINEAR}
    file, name = files[VGG]
    assert addresses(ENTRIES[name]) == [f"https://download.pytorch.org/models/{VGG}"]
    assert file.sha256.startswith(VGG.removesuffix(".pth").rpartition("-")[2])  # as torch.hub checks it


def test_motion_module_of_v1_is_a_file_of_its_own():
    entry = ENTRIES["easyanimate_v1_mm"]
    (file,) = entry.files
    assert (entry.folder, file.path) == ("Motion_Module", "easyanimate_v1_mm.safetensors")
    assert not file.is_archive and entry.needed_by == "scripts.predict_t2v with PixArt-XL-2-512x512"
    assert addresses(entry) == [f"{BUCKET}/Motion_Module/easyanimate_v1_mm.safetensors"]


def test_weights_that_rate_clips_are_where_their_steps_look():
    known = {entry.name: entry for entry in read_published("data_chain")}
    assert known.keys() == FILES.keys() and not any(entry.by_default for entry in known.values())
    for name, (folder, files) in FILES.items():
        assert known[name].folder == folder and {*files} <= {file.path for file in known[name].files}
