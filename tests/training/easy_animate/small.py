"""Small trainings of EasyAnimate: the folders of the goldens' networks, some clips, and the options for both."""

import yaml

from tests.support.captioned import write_meta, write_picture, write_video

COMMON = {
    "video_sample_size": 64,
    "image_sample_size": 64,
    "token_sample_size": 64,
    "video_sample_stride": 1,
    "video_sample_n_frames": 8,
    "max_steps": 2,
    "save_steps": 1,
    "per_device_train_batch_size": 1,
    "learning_rate": 1.0e-3,
    "logging_steps": 1,
    "vae_mini_batch": 1,
    "seed": 3,
    "device": "cpu",
    "disable_tqdm": True,
    "report_to": "none",
}
OF_VERSION = {"v4": {"train_mode": "inpaint", "motion_sub_loss": True}, "v3": {"train_mode": "inpaint"}}


def write_clips(folder, videos=3, pictures=0):
    entries = []
    for number in range(videos):
        path = write_video(folder / f"{number}.mp4", 20 + number, 64, 64)
        entries.append({"file_path": path.name, "text": f"a grey video {number}", "type": "video"})
    for number in range(pictures):
        path = write_picture(folder / f"{number}.png", 64, 64, number)
        entries.append({"file_path": path.name, "text": f"a picture {number}", "type": "image"})
    return write_meta(folder / "clips.json", entries)


def settings(folder, model, meta, version="v4", **others):
    """The words of a training's command: the YAML file that is written into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**COMMON, **OF_VERSION.get(version, {}), "pretrained_model_name_or_path": str(model)}
    values |= {"train_data_meta": str(meta), "output_dir": str(folder / "out"), **others}
    (folder / "training.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return [str(folder / "training.yaml")]
