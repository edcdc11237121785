"""Lesions that nobody has: seven classes, drawn, to test the whole system without real images."""
