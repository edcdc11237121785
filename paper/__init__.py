"""The study of the published paper, outside the wheel: its systems, questions and report."""
