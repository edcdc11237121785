"""Lesions that nobody has: seven classes, drawn, to show and test the whole system without real images."""

from dermlens.data.synthetic.folder import contact_sheet, write_synthetic

__all__ = ["contact_sheet", "write_synthetic"]
