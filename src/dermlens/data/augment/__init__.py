"""What is drawn anew for each training image and step, on batches."""
