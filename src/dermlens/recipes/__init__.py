"""Published experiments, one YAML file each."""
