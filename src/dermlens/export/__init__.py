"""From a trained model to files that answer without torch, each verified before it is kept."""
