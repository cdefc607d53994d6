"""The query language over twins: text -> parse -> typed plan -> a backend's compiler -> rows."""
