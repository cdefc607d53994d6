"""The cloud's twin API: the verbs on the store and the hub, live queries, bulk sets."""
