"""The command line: `support-agent COMMAND`."""

import sys
from io import TextIOWrapper

import typer

from support_agent.cli.ask import ask
from support_agent.cli.chat import chat
from support_agent.cli.cluster import cluster
from support_agent.cli.doctor import doctor
from support_agent.cli.eval import evaluate
from support_agent.cli.feedback import feedback
from support_agent.cli.key import key
from support_agent.cli.serve import serve
from support_agent.cli.studio import studio
from support_agent.graph.errors import SupportAgentError
from support_agent.local.process import LocalServiceError

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
app.add_typer(feedback, name="feedback")


def main() -> None:
    """Run a command; what went wrong is said in one line on standard error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal or a pipe can't encode is a question mark
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"support-agent: {where}{error.strerror or type(error).__name__}", file=sys.stderr)
        sys.exit(1)
    except (SupportAgentError, LocalServiceError) as error:
        print(f"support-agent: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":  # how `cluster` runs its replicas
    main()
