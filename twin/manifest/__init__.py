"""Documents that people write: YAML or JSON in, typed objects out, every problem with its place."""
