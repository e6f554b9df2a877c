"""`chat`: its arguments, and the job they make. Imports no Qt."""

from __future__ import annotations

import argparse
from typing import get_args

from app.cli_options import count
from core.estimate.values import CacheType
from core.jobs import ChatJob, Sampling

# One question asked twice gets the same answer, so that what differs between two models is the models' doing.
COMMAND_SAMPLING = Sampling(temperature=0)


def add_chat(parser: argparse.ArgumentParser) -> None:
    """The arguments of `chat`."""
    parser.add_argument("model", metavar="MODEL", help="a .gguf file")
    parser.add_argument("--against", metavar="MODEL", help="a second model that gets the same prompt")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what to ask")
    parser.add_argument("--system", default="", metavar="TEXT", help="a system prompt")
    parser.add_argument("--context", type=count, default=2048, metavar="N", help="context length in tokens (2048)")
    parser.add_argument("--threads", type=count, default=0, metavar="N", help="0, the default, uses all cores")
    caches = get_args(CacheType)
    parser.add_argument("--cache-type", choices=caches, default="f16", help="of cached keys and values (f16)")
    default = COMMAND_SAMPLING.model_dump()
    for name, info in Sampling.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        words = f"sampling ({default[name]})"
        parser.add_argument(option, type=info.annotation, default=default[name], metavar="N", help=words)


def asked_chat(options: argparse.Namespace) -> ChatJob:
    """The job that the arguments ask for."""
    given = {name: getattr(options, name) for name in Sampling.model_fields}
    return ChatJob(
        model=options.model,
        against=options.against,
        prompt=options.prompt,
        system=options.system,
        sampling=Sampling(**given),
        context=options.context,
        threads=options.threads,
        cache_type=options.cache_type,
    )
