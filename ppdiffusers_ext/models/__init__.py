"""Networks only: tensors in, tensors out. Importing this package makes Paddle fast on a CPU (see `environment`)."""

from ppdiffusers_ext.environment import keep_freed_memory, use_all_cores

use_all_cores()
keep_freed_memory()
