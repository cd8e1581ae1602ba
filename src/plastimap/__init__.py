"""PlastiMap: where a brain changed over time, from quantitative MRI."""

import os

from plastimap.caches import keep_kernels_private
from plastimap.process import end_quietly_on_interrupt
from plastimap.running.handover import RUN_VARIABLE

__version__ = "0.1.0"

keep_kernels_private()
if RUN_VARIABLE in os.environ:
    # As early as this: a job imports for seconds before its output goes to its log.
    end_quietly_on_interrupt()
