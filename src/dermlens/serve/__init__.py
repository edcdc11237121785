"""The service: a model behind HTTP, and the page that asks it."""
