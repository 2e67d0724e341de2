"""Start lipstitch as a module: python -m lipstitch --config job.yaml."""

from lipstitch.cli import app

if __name__ == "__main__":
    app()
