"""Parts of training: the loop, optimisers, schedules, checkpoints, several processes."""

from tuti.train.checkpoints import Checkpoints as Checkpoints
from tuti.train.checkpoints import load_checkpoint as load_checkpoint
from tuti.train.distributed import Processes as Processes
from tuti.train.distributed import processes as processes
from tuti.train.fit import as_dtype as as_dtype
from tuti.train.fit import fit as fit
from tuti.train.optimisers import AdamW as AdamW
from tuti.train.optimisers import Muon as Muon
from tuti.train.optimisers import Optimiser as Optimiser
from tuti.train.parts import Parts as Parts
from tuti.train.parts import batch_loss as batch_loss
from tuti.train.schedules import Trapezoid as Trapezoid
from tuti.train.updates import train as train
