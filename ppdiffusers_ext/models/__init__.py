"""Networks only: tensors in, tensors out. Importing this package lets Paddle use all processors of the machine."""

from ppdiffusers_ext.environment import use_all_cores

use_all_cores()
