"""Reading the command line: every mistake in it becomes one UserError."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from mmvae_jax import configuration
from mmvae_jax.types import UserError


def parse(argv: Sequence[str]) -> list[str]:
    """Parses flags, the config file among them, for ``absl.app.run``.

    Raises:
      UserError: an unknown flag or key (with the nearest match), a value of the wrong type, a
        config file that cannot be read.
    """
    try:
        rest = flags.FLAGS(argv)
        if flags.FLAGS.config is not None:
            _ = flags.FLAGS.config.seed  # a file that could not be read complains only now
    except (AttributeError, KeyError) as error:  # an override of a key that is not there
        raise UserError(_explain_override(argv, str(error))) from error
    except (flags.Error, ValueError, TypeError, OSError, ImportError, SyntaxError) as error:
        reason = re.sub(
            r"^.*Failed loading config file \S+", "--config:", f"{error}", flags=re.DOTALL
        )
        raise UserError(f"command line: {' '.join(reason.split())}") from error
    if len(rest) > 1:
        raise UserError(f"command line: unexpected {rest[1]!r}; values are given as --flag=value")
    return rest


def config_name() -> str:
    """The name of the config file without folder and ending."""
    return Path(config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0]).stem


def origin(argv: Sequence[str]) -> dict[str, Any]:
    """Where the config comes from: the command, and its file without and with its argument.

    As `runner.train` keeps it. Of a file that needs an argument ``defaults`` has it, too.
    """
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    picked = configuration.read(name)
    try:
        defaults = configuration.read(name.partition(":")[0])
    except (UserError, ValueError, KeyError):
        defaults = picked
    return {"command": command(argv), "defaults": defaults, "picked": picked}


def command(argv: Sequence[str]) -> str:
    """The command that was typed, in a form that can be typed again."""
    return f"python -m mmvae_jax.main {shlex.join(argv[1:])}"


def chosen(section: str) -> dict[str, Any]:
    """The values ``--config.<section>.*`` that the command line names, and no defaults."""
    if flags.FLAGS.config is None:
        return {}
    named = config_flags.get_override_values(flags.FLAGS["config"])
    return {
        key.removeprefix(f"{section}."): value
        for key, value in named.items()
        if key.startswith(f"{section}.")
    }


def _explain_override(argv: Sequence[str], error: str) -> str:
    """The line for a ``--config.key=value`` whose key the config lacks.

    Args:
      argv: the command line; the config file that it names is read again, without overrides.
      error: what the flag parser said, used where nothing better is known.
    """
    files = re.findall(r"^--config[=\n](.+)$", "\n".join(argv), re.MULTILINE)
    keys = re.findall(r"^--config\.([\w.]+)", "\n".join(argv), re.MULTILINE)
    if files:
        known = dict(configuration.flat(configuration.read(files[-1])))
        for key in keys:
            if key not in known:
                return configuration.unknown_key(key, known)
    return "command line: " + " ".join(error.split())
