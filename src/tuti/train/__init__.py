"""Parts of training: the loop, optimisers, schedules, checkpoints, several processes."""

from tuti.train.checkpoints import Checkpoints as Checkpoints
from tuti.train.checkpoints import load_checkpoint as load_checkpoint
from tuti.train.distributed import Processes as Processes
from tuti.train.distributed import processes as processes
from tuti.train.fit import DTYPES as DTYPES
from tuti.train.fit import Parts as Parts
from tuti.train.fit import Trapezoid as Trapezoid
from tuti.train.fit import batch_loss as batch_loss
from tuti.train.fit import train as train
from tuti.train.optimisers import AdamW as AdamW
from tuti.train.optimisers import Muon as Muon
from tuti.train.optimisers import Optimiser as Optimiser
