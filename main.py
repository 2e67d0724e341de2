"""Start lipstitch from a checkout: python main.py --config job.yaml."""

from lipstitch.cli import app

if __name__ == "__main__":
    app()
