"""What is published of EasyAnimate: names, addresses and places of its README at the time of V4."""

import pytest

from ppdiffusers_ext.pipelines.easy_animate.published import PUBLISHED
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
ENTRIES = {entry.name: entry for entry in PUBLISHED}


def addresses(entry):
    (item,) = items_of([entry])
    return [source.url for source in sources_of(item)]


def test_all_of_easy_animate_is_there():
    names = [archive.removesuffix(".gz").removesuffix(".tar") for archive in ARCHIVES]
    assert sorted(ENTRIES) == sorted([*names, "easyanimate_v1_mm"])
    assert [name for name, entry in ENTRIES.items() if entry.by_default] == ["EasyAnimateV4-XL-2-InP"]


@pytest.mark.parametrize("archive, needed_by", ARCHIVES.items())
def test_archives_become_folders_of_their_names(archive, needed_by):
    name = archive.removesuffix(".gz").removesuffix(".tar")
    entry = ENTRIES[name]
    (file,) = entry.files
    assert (entry.folder, file.path, entry.needed_by) == ("Diffusion_Transformer", name, needed_by)
    assert {"model_index.json", "transformer/config.json", "vae/config.json"} == set(file.members)
    assert addresses(entry) == [f"{BUCKET}/Diffusion_Transformer/{archive}"]


def test_motion_module_of_v1_is_a_file_of_its_own():
    entry = ENTRIES["easyanimate_v1_mm"]
    (file,) = entry.files
    assert (entry.folder, file.path) == ("Motion_Module", "easyanimate_v1_mm.safetensors")
    assert not file.is_archive and entry.needed_by == "scripts.predict_t2v with PixArt-XL-2-512x512"
    assert addresses(entry) == [f"{BUCKET}/Motion_Module/easyanimate_v1_mm.safetensors"]
