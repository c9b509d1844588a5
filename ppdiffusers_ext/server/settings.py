"""What a server accepts, keeps and offers; each setting is an option of `scripts.serve`."""

from dataclasses import dataclass

from ppdiffusers_ext.options import check_options, option, path_option

_MIB, _GIB = 1 << 20, 1 << 30
UPLOADS, JOBS, MODELS, STORAGE = "Uploads", "Jobs", "Models", "Storage"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """What a server accepts, keeps and offers."""

    max_upload_bytes: int = option(512 * _MIB, 1, help="number of bytes of an upload", group=UPLOADS)
    max_picture_pixels: int = option(50_000_000, 1, help="number of pixels of an uploaded picture", group=UPLOADS)
    max_video_pixels: int = option(
        3840 * 2160, 1, help="number of pixels of a frame of an uploaded video", group=UPLOADS
    )
    max_video_seconds: float = option(600.0, 0.1, help="length of an uploaded video in seconds", group=UPLOADS)
    max_video_frames: int = option(20_000, 1, help="number of frames of an uploaded video", group=UPLOADS)
    probe_seconds: int = option(
        30, 1, 3600, help="seconds of processor in which an upload must be understood", group=UPLOADS
    )
    probe_memory: int = option(
        2 * _GIB, 256 * _MIB, help="bytes of memory in which an upload must be understood", group=UPLOADS
    )
    max_queued: int = option(100, 1, 100_000, help="number of jobs that may wait", group=JOBS)
    preview_every: int = option(
        5, 0, 1000, help="number of denoising steps after which a job shows a preview; 0 for none", group=JOBS
    )
    start_seconds: float = option(600.0, 1, help="seconds in which a worker must have started", group=JOBS)
    answer_seconds: float = option(
        120.0, 1, help="seconds in which a plan or a preview of poses must be there", group=JOBS
    )
    cancel_seconds: float = option(
        60.0, 0, help="seconds after which the worker is replaced if a job that is cancelled does not end", group=JOBS
    )
    quota: int = option(20 * _GIB, _MIB, help="bytes that the data folder may take", group=STORAGE)
    keep_days: float | None = option(
        None,
        0,
        help="days after which results of ended jobs and unused uploads are removed",
        unset="never",
        group=STORAGE,
    )
    remove_oldest: bool = option(
        False,
        help="remove the oldest results where the data folder is full, instead of refusing uploads and jobs",
        group=STORAGE,
    )
    models: str | None = path_option(
        None,
        help="folder of model folders and YAML files of models, which jobs name",
        unset="released models and those that ship alone",
        group=MODELS,
    )
    loras: str | None = path_option(None, help="folder of LoRA files, which jobs name", unset="no LoRA", group=MODELS)
    device: str = option(
        "auto",
        pattern="auto|cpu|gpu(:[0-9]{1,4})?",
        accepted="auto, cpu, gpu or gpu:N",
        help="where the networks of all jobs run",
        group=MODELS,
    )

    def __post_init__(self) -> None:
        check_options(self)
