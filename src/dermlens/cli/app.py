"""What every verb shares: the app, the streams, tables, how errors end, and what was renamed."""

from __future__ import annotations

import codecs
import copy
import errno
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from dermlens import __version__
from dermlens.errors import UserError, missing_extra

if TYPE_CHECKING:
    import pandas as pd


VERBS = {
    "verify": "data verify",
    "fetch": "data fetch",
    "split": "data split",
    "synthesize": "data synthesize",
    "models": "model list",
    "recipes": "model recipes",
    "weights": "model weights",
    "publish": "model publish",
    "decision-report": "analyze reliability",
    "told-less": "analyze missing-metadata",
    "far-ood": "analyze out-of-distribution",
    "near-ood": "analyze unseen-class",
    "source-probe": "analyze source-probe",
    "learn-dermoscopy": "calibrate --not-dermoscopy",
    "crossfit": "study crossfit",
    "ablate": "study ablate",
    "ensemble": "study ensemble",
    "soup": "study soup",
    "soft-labels": "study soft-labels",
}
"""The command by its old name."""

PAPER = "study paper"
"""What left the package: the paper's study lies next to it."""

OPTIONS = {
    ("predict", "--output"): "--out",
    ("explain", "--output"): "--out",
    ("data fetch", "--to"): "--out",
    ("data split", "--output"): "--out",
    ("export", "--to"): "--format",
    ("calibrate", "--dermoscopic"): "--dermoscopy",
    ("calibrate", "--other"): "--not-dermoscopy",
    ("calibrate", "--kept"): "--dermoscopy-kept",
    ("analyze missing-metadata", "--output"): "--out",
    ("analyze out-of-distribution", "--output"): "--out",
    ("analyze out-of-distribution", "--set"): "--other",
    ("analyze source-probe", "--output"): "--out",
    ("study soft-labels", "--output"): "--out",
}
"""The option by its command's new name and its own old one."""

WORDS = {
    "data verify": "--data DIR",
    "data synthesize": "--out DIR",
    "serve": "--model DIR",
    "explain": "IMAGE --model RUN",
    "export": "--out DIR",
    "model publish": "--out DIR",
}
"""Options that were a bare word behind the command."""


def renamed_verb(old: str) -> str | None:
    """What to write instead of an old command; none where it is none."""
    if old == PAPER:
        return f"dermlens {old} is now: python -m paper (in the repository)"
    if old not in VERBS:
        return None
    return f"dermlens {old} is now: dermlens {VERBS[old]}"


def instead(error: Any) -> str:
    """The end of a sentence on a wrong option or word: what it is called now, and where help is.

    Args:
        error: of the command line.
    """
    path = command_path(getattr(error, "ctx", None))
    new = OPTIONS.get((path, str(getattr(error, "option_name", ""))))
    if new is None and "unexpected extra argument" in str(error.message):
        new = WORDS.get(path)
    help_of = f"dermlens {path} --help".replace("  ", " ")
    return f" ({help_of})" if new is None else f"; it is now {new} ({help_of})"


def command_path(ctx: Any) -> str:
    """The command that was read, such as `data split`, without the program."""
    parts: list[str] = []
    while ctx is not None and ctx.parent is not None:
        parts.insert(0, str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(parts)


# Standard output and error that take every character, and that may be closed.
#
# What a result is decorated with must not decide over the result: a dash that the terminal's encoding lacks
# becomes a hyphen, and without a standard output the work is done all the same.


PLAIN = {
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u2026": "...",
    "\u2192": "->",
    "\u2190": "<-",
    "\u00d7": "x",
    "\u2265": ">=",
    "\u2264": "<=",
    "\u2248": "~",
    "\u00b1": "+/-",
    "\u00b7": "*",
    "\u2022": "*",
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00a0": " ",
    "\u202f": " ",
    "\u2007": " ",
    "\u03b5": "epsilon",
    "\u03b3": "gamma",
    "\u03b1": "alpha",
    "\u03c4": "tau",
    "\u2713": "yes",
    "\u2717": "no",
}
HANDLER = "dermlens_plain"


def prepare_streams() -> None:
    """Make standard output and error fit for any text, and stand in for those that are closed."""
    codecs.register_error(HANDLER, _plain)
    _occupy()
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if hasattr(sys.stdout, "reconfigure"):  # not what a test or a notebook puts there
        sys.stdout.reconfigure(errors=HANDLER)
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors=HANDLER)


def discard_output() -> None:
    """Discard what is still to be written: its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def fits(text: str) -> bool:
    """Whether standard output takes a text as it is."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by similar ones in ASCII, or by a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # as long as the process


def _occupy() -> None:
    """Take the numbers of closed streams, or the next file that is opened would be the standard output."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return


def frame_table(frame: pd.DataFrame, title: str) -> Table:
    """A frame as a table: its index first, numbers to the right."""
    rows = frame.reset_index()
    table = Table(title=title)
    for name in rows.columns:
        table.add_column(str(name), justify="right" if rows[name].dtype.kind in "iuf" else "left")
    for row in rows.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


# The app, and how an error ends the program.


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room: on the disk, for this user, for a file of this size. Writing says so without a file's name."""

PIPE_CLOSED = 141
"""Exit code where the reader of the output has gone, as a shell gives it: 128 and the number of SIGPIPE."""


class StoppedError(Exception):
    """Ctrl-C, with what there is to say of it; Typer itself would end without a word."""


class ReaderGoneError(Exception):
    """The reader of the output has gone; click itself would end with 1."""


class Verbs(TyperGroup):
    """The verbs, any of which may be interrupted, or lose the reader of what they print."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise StoppedError(str(error) or "interrupted") from error
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb; one that opens a stored run or model takes --trust-code."""
        verb = super().get_command(ctx, cmd_name)
        if verb is not None and cmd_name not in WITHOUT_CODE:
            names = {parameter.name for parameter in verb.params}
            if names & STORED and TRUST not in names:
                for option in ctx.find_root().command.params:
                    if option.name == TRUST:
                        own = copy.copy(option)
                        own.hidden = False
                        verb.params.append(own)
        return verb


TRUST = "trust_code"
STORED = {"run", "runs", "resume", "members", "model", "named"}
"""Parameters of verbs that name a stored run or model."""

WITHOUT_CODE = ("predict", "segment", "serve")
"""Verbs that open ONNX files alone, which name no code that could be run."""


class Commands(Verbs):
    """The commands, where an old name is answered with the new one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or self.get_command(ctx, args[0]) is not None
        if not known and (sentence := renamed_verb(f"{command_path(ctx)} {args[0]}".strip())) is not None:
            raise UserError(sentence)
        return super().resolve_command(ctx, args)


HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="dermlens",
    cls=Commands,
    help="Train, evaluate and explain classifiers of dermoscopic images. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)


class Output(Console):
    """A console that lets `main` decide what to do when its reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console = Output(
    width=None if sys.stdout is not None and sys.stdout.isatty() else 160, markup=False, highlight=False
)


class SentencePrinter(logging.Handler):
    """Prints what readers of data announce, each sentence once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a sentence that was not printed yet."""
        if (sentence := record.getMessage()) not in self._printed:
            self._printed.add(sentence)
            say(sentence)


def main(commands: typer.Typer = app) -> None:
    """Run the command line; turn errors into one sentence and an exit code."""
    readers = logging.getLogger("dermlens.data")
    readers.handlers, readers.propagate = [SentencePrinter()], False
    readers.setLevel(logging.INFO)
    try:
        code = commands(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        _stop(str(error), 2)
    except ModuleNotFoundError as error:
        if (sentence := missing_extra(error)) is None:
            raise
        _stop(sentence, 2)
    except StoppedError as error:
        _stop(str(error), 130)
    except (BrokenPipeError, ReaderGoneError):  # `dermlens … | head`
        discard_output()
        sys.exit(PIPE_CLOSED)
    except OSError as error:
        if error.errno in FULL:
            _stop(f"the disk is full ({error.strerror}): make room, and run this again", 2)
        name = error.filename2 or error.filename  # of a renaming the second is the one that was asked for
        if name is None or error.strerror is None:
            raise
        _stop(f"{name}: {error.strerror}", 2)
    except Exception as error:
        if hasattr(error, "format_message"):  # the command line's own usage errors
            _stop(f"{error.format_message()}{instead(error)}", 2)
        traceback.print_exc()
        _stop(
            f"this is our mistake, not yours: {type(error).__name__}; please report it with the lines above",
            1,
        )
    sys.exit(code if isinstance(code, int) else 0)


def say(sentence: str) -> None:
    """Print a sentence that may hold anything, a file's name with brackets too."""
    console.print(Text(sentence))


def warn(sentence: str) -> None:
    """Print a sentence on standard error, as errors are printed."""
    print(f"dermlens: {sentence}", file=sys.stderr)


def _stop(sentence: str, code: int) -> NoReturn:
    warn(sentence)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"dermlens {__version__}")
        raise typer.Exit


def _trust(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        from dermlens.plugins import trusted_code

        ctx.with_resource(trusted_code())


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            callback=_trust,
            expose_value=False,
            hidden=True,  # here; the verbs that open a stored run or model show it
            help="Run the code from outside that the stored run or model names by import path.",
        ),
    ] = False,
) -> None:
    """Nothing before the verb but --version and --help."""
