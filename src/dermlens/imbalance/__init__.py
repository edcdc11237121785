"""What is done about 67 % nevi: class weights, losses, samplers."""
