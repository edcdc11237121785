"""The report page, the model card, and the figures and tables in both."""
