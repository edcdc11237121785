"""ImageNet weights: where they come from, and how foreign files become safetensors."""
