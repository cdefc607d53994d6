"""The custom resource definitions of KubeEdge's group, as YAML."""
