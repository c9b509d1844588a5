"""Captioned clips of drawn people: what is held out, what captions say, and that clips show it."""

import json
from collections import Counter

import numpy as np

from ppdiffusers_ext.data.easy_animate.synthetic import (
    CHINESE,
    LANGUAGES,
    PHRASES,
    caption_sets,
    captions,
    is_held_out,
    make_records,
    synthetic_scene,
    write_captioned_clips,
    write_json_records,
)
from ppdiffusers_ext.data.scenes import COLORS, MOTIONS, Scene, all_scenes, draw_scene
from ppdiffusers_ext.data.video import probe_video, read_frames


def test_combinations_are_held_out_and_all_that_they_are_made_of_is_trained_on():
    kept = [scene for scene in all_scenes() if not is_held_out(scene)]
    held_out = [scene for scene in all_scenes() if is_held_out(scene)]
    assert len(kept) + len(held_out) == len(COLORS) * (len(COLORS) - 1) * len(MOTIONS)
    assert len(held_out) > 40 and not set(kept) & set(held_out)
    for names in (("shirt", "background"), ("shirt", "motion"), ("background", "motion")):
        pairs = [{tuple(getattr(scene, name) for name in names) for scene in scenes} for scenes in (kept, held_out)]
        assert pairs[1] <= pairs[0]  # each pair is seen in training, with another third
    for name, values in (("shirt", COLORS), ("background", COLORS), ("motion", MOTIONS)):
        seen = Counter(getattr(scene, name) for scene in held_out)
        assert set(seen) == set(values) and max(seen.values()) <= 2 * min(seen.values())


def test_scenes_follow_from_the_seed_and_are_of_the_asked_kind():
    for held_out in (False, True):
        drawn = [synthetic_scene((3, number), held_out) for number in range(200)]
        assert drawn == [synthetic_scene((3, number), held_out) for number in range(200)]
        assert all(is_held_out(scene) == held_out for scene, _ in drawn)
        assert all(any(text in captions(scene, language) for language in LANGUAGES) for scene, text in drawn)
        assert len({scene for scene, _ in drawn}) > 40
        chinese = sum(not text.isascii() for _, text in drawn)
        assert 60 < chinese < 140


def test_captions_name_each_colour_and_motion_in_both_languages_and_no_two_scenes_alike():
    meanings = {}
    for scene in all_scenes():
        for language in LANGUAGES:
            texts = captions(scene, language)
            assert len(set(texts)) == len(texts) >= 8
            for text in texts:
                assert meanings.setdefault(text, scene) == scene
                phrases = PHRASES[scene.motion][LANGUAGES.index(language)]
                shirt, wall = (n if language == "en" else CHINESE[n] for n in (scene.shirt, scene.background))
                assert any(words in text for words in (f"{shirt} shirt", f"穿{shirt}", f"穿着{shirt}"))
                of_wall = (f"{wall} background", f"{wall} wall", f"{wall}背景", f"{wall}的墙", f"背景是{wall}")
                assert any(words in text for words in of_wall) and any(phrase in text for phrase in phrases)
                assert " a orange" not in text and " an red" not in text


def test_scene_most_like_another_has_its_colours_exchanged():
    texts, alike = caption_sets()
    meanings = {text: scene for scene in all_scenes() for language in LANGUAGES for text in captions(scene, language)}
    scenes = [meanings[own[0]] for own in texts]
    assert all(not is_held_out(scene) for scene in scenes) and all(i != j for i, j in enumerate(alike))
    exchanged = [scenes[j] == Scene(s.background, s.shirt, s.motion) for s, j in zip(scenes, alike)]
    assert np.mean(exchanged) > 0.7


def test_written_clips_are_what_their_records_say(tmp_path):
    write_captioned_clips(tmp_path / "day", 4, range(2), 3, 32)
    records = make_records(tmp_path / "day", 4, 2, 32)
    write_json_records(tmp_path / "records.json", records)
    read = json.loads((tmp_path / "records.json").read_text(encoding="utf-8"))
    assert read == records and [record["type"] for record in read] == ["video"] * 2
    for number, record in enumerate(read):
        scene, text = synthetic_scene((4, number))
        info = probe_video(record["file_path"])
        assert record["text"] == text and (record["width"], record["height"]) == (info.width, info.height) == (64, 64)
        drawn = draw_scene(scene, (4, number, 1), 3, 32).repeat(2, axis=1).repeat(2, axis=2)
        assert np.abs(np.stack(list(read_frames(record["file_path"]))).astype(int) - drawn).mean() < 4


def test_clips_that_are_there_are_kept(tmp_path):
    (tmp_path / "00000.mp4").write_bytes(b"kept")
    write_captioned_clips(tmp_path, 4, range(2), 2, 32)
    assert (tmp_path / "00000.mp4").read_bytes() == b"kept" and (tmp_path / "00001.mp4").stat().st_size > 500
