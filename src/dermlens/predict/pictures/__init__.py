"""From a picture's file to the network's square: structure, decoding, DICOM, preprocessing."""
