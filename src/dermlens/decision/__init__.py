"""From scores to an answer: calibrated probabilities, a diagnosis, a set of diagnoses, or abstention."""
