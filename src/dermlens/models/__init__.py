"""The published model family: backbones cut before their last stage, Soft-Attention, a metadata branch."""
