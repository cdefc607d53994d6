"""Images, flashing and updates of gateway boards. It has no content yet."""
