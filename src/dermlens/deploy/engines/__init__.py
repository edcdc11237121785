"""Files of a saved model for several engines: one small file here and one row of the table for each."""
