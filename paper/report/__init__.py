"""The report of the paper's study: its tables and figures again, and what is true of its claims."""
