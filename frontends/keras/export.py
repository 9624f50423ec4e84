"""."""


class ExportArchive:
    """."""


def from_keras(model: object) -> object:
    """."""
    raise NotImplementedError
