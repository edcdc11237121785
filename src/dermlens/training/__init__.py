"""From a recipe to a trained run: losses, sampling, the Lightning task, optimisers, fit and resume."""
