"""The command line: `support-agent COMMAND`."""

import sys

import typer

from support_agent.cli.ask import ask
from support_agent.cli.serve import serve
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
app.command()(ask)


def main() -> None:
    """Run a command; what went wrong is said in one line on standard error."""
    try:
        app()
    except (SupportAgentError, LocalServiceError) as error:
        print(f"support-agent: {error}", file=sys.stderr)
        sys.exit(1)
