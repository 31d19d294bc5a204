"""Jobs."""


def on_app_ready(app: object) -> None:
    """Called by Procrastinate once its app is ready."""
