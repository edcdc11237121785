"""From a recipe to a trained run: the Lightning task, optimisers and schedules, fit and resume."""
