"""Pictures of a data set, decoded as every model here sees them; where scripts have always imported it from."""

from dermlens.predict.pictures.preprocessing import image_size, read_image

__all__ = ["image_size", "read_image"]
