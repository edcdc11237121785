"""From predictions to numbers, figures and a report."""
