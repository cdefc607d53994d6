"""The cloud's side of the sync: workers, SQL store and twin API. It has no content yet."""
