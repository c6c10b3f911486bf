"""The command line: `support-agent COMMAND`."""

import sys
from io import TextIOWrapper

import typer

from cli.ask import ask
from cli.chat import chat
from cli.cluster import cluster
from cli.doctor import doctor
from cli.eval import evaluate
from cli.feedback import feedback
from cli.gaps import gaps
from cli.key import key
from cli.knowledge import knowledge
from cli.output import discard_output
from cli.serve import serve
from cli.studio import studio
from cli.sync import sync
from graph.errors import SupportAgentError
from local.process import LocalServiceError

app = typer.Typer(
    name="support-agent",
    help="A customer-support agent that answers from your own help articles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(cluster)
app.command()(ask)
app.command()(chat)
app.command()(key)
app.command()(doctor)
app.command()(studio)
app.command("eval")(evaluate)
knowledge.command()(sync)
knowledge.command()(gaps)
app.add_typer(knowledge, name="knowledge")
app.add_typer(feedback, name="feedback")


def main() -> None:
    """Run a command; print an error as one line on standard error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # print ? for characters that the terminal can't encode
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"support-agent: {where}{error.strerror or type(error).__name__}", file=sys.stderr)
        discard_output()
        sys.exit(1)
    except (SupportAgentError, LocalServiceError) as error:
        print(f"support-agent: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":  # `cluster` starts its replicas with `python -m cli.main`
    main()
