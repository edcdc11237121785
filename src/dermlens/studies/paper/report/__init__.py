"""The report of the paper's study: its tables and figures again, and what is true of its claims."""

from dermlens.studies.paper.report.page import write_report

__all__ = ["write_report"]
