"""Train stage 1 of Animate Anyone.

python -m scripts.launch --gpus 0,1 scripts/trainer_stage1.py --do_train --output_dir ./exp_output/stage1
python -m scripts.launch --gpus 0,1 scripts/trainer_stage1.py training.yaml
python scripts/trainer_stage1.py training.yaml

The last line is for one process.
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as Paddle's launcher does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scripts"

from .training import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("stage1", usage=__doc__))
