"""What the commands have in common: bad input is one line and exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from mmvae_jax.types import UserError


class Parser(argparse.ArgumentParser):
    """For the commands beside ``main``: a mistake is a UserError."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        raise UserError(f"command line: {message}")


@contextlib.contextmanager
def one_line_errors(leave: Callable[[int], NoReturn] = sys.exit) -> Iterator[None]:
    """What a command runs in.

    Args:
      leave: ends the process with a status; `training.runtime.leave` where others may wait for it.
    """
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        leave(2)
