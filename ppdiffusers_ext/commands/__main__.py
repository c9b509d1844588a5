"""`python -m ppdiffusers_ext.commands NAME ...`; Paddle's launcher runs this file in each process of a training."""

import sys
from pathlib import Path

if not __package__:  # run as a file: the package has to be found, and not the modules beside this one
    folder = str(Path(__file__).resolve().parents[2])
    sys.path[:1] = [] if folder in sys.path[1:] else [folder]

from ppdiffusers_ext.commands import main

if __name__ == "__main__":
    sys.exit(main())
