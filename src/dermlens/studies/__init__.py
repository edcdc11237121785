"""Experiments of several trainings: cross-fits, ablations, ensembles."""
