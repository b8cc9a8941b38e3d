"""`cxrserve train` and `cxrserve models init`. torch is imported only once a command runs."""

from training.cli.train import init, train

__all__ = ["init", "train"]
