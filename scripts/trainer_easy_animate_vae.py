"""Train the video autoencoder of EasyAnimate.

python scripts/trainer_easy_animate_vae.py --do_train --output_dir ./exp_output/easy_animate_vae
python scripts/trainer_easy_animate_vae.py training.yaml
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scripts"

from .training import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("easy_animate_vae", usage=__doc__))
