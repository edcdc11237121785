"""Figures: numbers and pictures in, a matplotlib Figure out."""
