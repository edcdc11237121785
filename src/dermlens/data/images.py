"""Pictures of a data set, decoded as every model here sees them; scripts import the reader from here."""

from dermlens.predict.pictures.preprocessing import image_size, read_image

__all__ = ["image_size", "read_image"]
