"""What in an image, and in what is known of the patient, a model's answer goes by."""
