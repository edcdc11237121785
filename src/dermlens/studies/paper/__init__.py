"""The paper, run again: its matrix of systems, its tables and figures, and experiments on its claims."""
