"""From a trained model to one that answers: export, int8, and prediction without torch."""
