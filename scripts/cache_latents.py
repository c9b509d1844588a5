"""Keep what EasyAnimate's frozen networks make of training clips, so that training need not compute it again.

python -m scripts.cache_latents configs/training/easy_animate/v4.yaml --latent_cache latents --latent_variants 4

The options are those of scripts/trainer_easy_animate.py or scripts/trainer_easy_animate_lora.py, which read the folder
when they are given the same ones. The same command goes on where it was stopped.
"""

import sys

from .training import main

if __name__ == "__main__":
    sys.exit(main("cache_latents", usage=__doc__))
