"""Trading computation for memory, under the names of ``torch.utils.checkpoint``."""

from annx._checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
