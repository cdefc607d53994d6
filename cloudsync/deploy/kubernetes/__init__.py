"""What a cluster needs beside the custom resource definitions: roles, as YAML."""
