"""Experiments of several trainings, and what a trained model is worth beyond its test images."""
