"""What a request ends with when it does not end well: a Status, as Kubernetes writes it."""


class ApiError(Exception):
    def __init__(self, code, reason, message, details=None, retry_after=None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after

    def body(self):
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status |= {"message": self.message, "reason": self.reason, "code": self.code}
        if self.details:
            status["details"] = self.details
        return status


def _named(resource):
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def not_found(resource, name):
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return ApiError(404, "NotFound", f'{_named(resource)} "{name}" not found', details)


def no_such_path():
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def exists(resource, name):
    return ApiError(409, "AlreadyExists", f'{_named(resource)} "{name}" already exists')


def conflict(resource, name, why=None):
    text = why or "the object has been modified; please apply your changes to the latest version and try again"
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {_named(resource)} "{name}": {text}')


def bad_request(message):
    return ApiError(400, "BadRequest", message)


def invalid(resource, name, causes):
    """``causes``: (path, text) of each problem."""
    message = ", ".join(f"{path}: {text}" for path, text in causes)
    details = {
        "name": name,
        "group": resource.group,
        "kind": resource.kind,
        "causes": [{"field": path, "message": text, "reason": "FieldValueInvalid"} for path, text in causes],
    }
    return ApiError(422, "Invalid", f'{resource.kind} "{name}" is invalid: {message}', details)


def expired(message="The resourceVersion for the provided watch is too old."):
    return ApiError(410, "Expired", message)
