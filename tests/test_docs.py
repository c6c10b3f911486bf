"""What the documents say of the code: settings, links, commands."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from annotated_types import BaseMetadata
from pydantic.fields import FieldInfo

from api.settings import ServiceSettings
from cli.main import app
from conftest import REPOSITORY
from graph.environment import LIBRARIES

CONFIGURATION = REPOSITORY / "docs/configuration.md"
CHANGELOG = REPOSITORY / "CHANGELOG.md"
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
FIELDS: dict[str, FieldInfo] = {str(field.alias): field for field in ServiceSettings.model_fields.values()}

COMPOSE = ("docker-compose.yml", "deploy/vps/compose.yaml")
UPGRADE = "deploy/vps/upgrade.sh"

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def shown(default: object) -> str | None:
    """Return a default as the environment would spell it; None where a setting has none."""
    return None if default in (None, ()) else str(default).replace("False", "false")


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells behind each name that begins a row of a table."""
    found = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", text, re.MULTILINE)
    assert len(found) == len({name for name, _ in found}), "a name has two rows"
    return {name: cells.split(" | ") for name, cells in found}


def compose_names() -> set[str]:
    """Return what Docker Compose and upgrade.sh read from outside."""
    names = set(re.findall(r"\bsetting ([A-Z_]+)", text_of(REPOSITORY / UPGRADE)))
    for file in COMPOSE:
        text = text_of(REPOSITORY / file)
        names |= set(re.findall(r"\b(COMPOSE_FILE)=", text))
        names |= set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE)))
        services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
        environments = [service.get("environment", {}) for service in services.values()]
        names |= {name for variables in environments for name, value in variables.items() if value is None}
    return names


def telemetry_names() -> set[str]:
    return set(re.findall(r'"(OTEL_[A-Z_]+)"', text_of(REPOSITORY / "api/telemetry.py")))


def test_the_configuration_page_has_every_setting_with_its_default() -> None:
    """Each setting has one row, which names its default, its bounds and its choices."""
    table = rows(text_of(CONFIGURATION))
    assert FIELDS.keys() <= table.keys()
    for name, field in FIELDS.items():
        default, *rest = table[name]
        assert default == (f"`{shown(field.default)}`" if shown(field.default) else "unset"), name
        for bound in bounds(field):
            assert f"{bound:,}" in rest[-1], name
        for choice in getattr(field.annotation, "__args__", ()):
            assert not isinstance(choice, str) or f"`{choice}`" in rest[-1], name


def bounds(field: FieldInfo) -> Iterator[float]:
    for constraint in field.metadata:
        if isinstance(constraint, BaseMetadata):
            for side in ("gt", "ge", "lt", "le"):
                if (bound := getattr(constraint, side, None)) is not None:
                    yield bound


def test_the_configuration_page_has_what_others_read() -> None:
    """What OpenTelemetry, Docker Compose and upgrade.sh read has a row too, and nothing else has one."""
    others = compose_names() | telemetry_names()
    assert {"OTEL_EXPORTER_OTLP_ENDPOINT", "AGENT_IMAGE", "OPERATOR_KEY", "COMPOSE_FILE", "SMOKE_KEY"} <= others
    servers = rows(text_of(REPOSITORY / "docs/mcp.md")).keys()
    assert {name for name in others if name.startswith("MCP_")} <= servers
    names = rows(text_of(CONFIGURATION)).keys()
    assert others - servers <= names
    read_by_libraries = {name for name in names if LIBRARIES.fullmatch(name)}
    assert {"ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} <= read_by_libraries
    assert names.isdisjoint(servers)
    assert names - FIELDS.keys() - others - read_by_libraries == {"LOG_LEVEL"}  # LangGraph's server reads it


def test_the_example_file_holds_every_setting_with_its_default() -> None:
    """.env.example lists each variable once, with the value that it has unset, and what Docker Compose reads beside."""
    lines = text_of(REPOSITORY / ".env.example").splitlines()
    pairs = [line.removeprefix("# ").split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line)]
    values = dict(pairs)
    assert len(values) == len(pairs)
    assert values.keys() == FIELDS.keys() | compose_names()
    defaults = {name: shown(field.default) for name, field in FIELDS.items()}
    assert {name: value for name, value in values.items() if defaults.get(name)} == {
        name: default for name, default in defaults.items() if default
    }


def prose(text: str) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    seen: dict[str, int] = {}
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*#*$", prose(text_of(path)), re.MULTILINE):
        name = slug(heading)
        seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
    return found


def broken_links(path: Path, text: str) -> list[str]:
    """Return the relative links that lead nowhere."""
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    targets = re.findall(r"\]\(([^)\s]+)\)", plain) + re.findall(r"^\[[^]]+\]: (\S+)", plain, re.MULTILINE)
    broken: list[str] = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    return broken


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """Each relative link names a file, and its anchor a heading of it."""
    assert broken_links(document, text_of(document)) == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](README.md#read-on) [b](#read-on) [c](https://example.com) [d]\n\n[d]: docs/api.md\n", []),
        ("`[code](nowhere.md)`\n```\n[code](nowhere.md)\n```\n", []),
        (
            "[a](nowhere.md) [b](README.md#nowhere)\n\n[c]: docs/nowhere.md\n",
            ["nowhere.md", "README.md#nowhere", "docs/nowhere.md"],
        ),
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str, broken: list[str]) -> None:
    """Inline links and references count; code and other sites do not."""
    assert broken_links(REPOSITORY / "README.md", text) == broken


ROOMS = "api|bench|cli|deploy|docs|evals|graph|knowledge|local|tests"


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md", "docs/features.md"])
def test_every_path_exists(name: str) -> None:
    """Each file or folder that these pages name is there."""
    paths = re.findall(rf"`((?:{ROOMS})/[\w./-]*)`", text_of(REPOSITORY / name))
    assert len(paths) > 5
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `support-agent` that a document shows, in a block of code or in a sentence."""
    # A sentence's code may go on in its next line.
    text = re.sub(r"(?<!`)`[^`]+`(?!`)", lambda code: " ".join(code[0].split()), text)
    for found in re.finditer(r"(?:^|[`/] ?|\brun |--group \w+ )support-agent ([a-z][^`\n|&#>]*)", text, re.MULTILINE):
        try:
            yield shlex.split(found[1])
        except ValueError:  # a quotation that goes on in the next line
            yield found[1].split()


@cache
def command_line() -> Any:
    return typer.main.get_command(app)


def unknown(arguments: list[str]) -> str | None:
    """Return what the command line does not know of a command, if anything."""
    command = command_line()
    rest = list(arguments)
    while subcommands := getattr(command, "commands", None):
        name = rest.pop(0) if rest else ""
        if name not in subcommands:
            return name or "(nothing)"
        command = subcommands[name]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return next((word for word in rest if word.startswith("--") and word not in options), None)


@each_document
def test_every_command_exists(document: Path) -> None:
    """Each `support-agent` command and option that a document shows is one of the command line's."""
    assert [arguments for arguments in commands(text_of(document)) if unknown(arguments)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("uv run support-agent serve --port 8000   # it serves", [None]),
        ("`uv run --group evals support-agent eval --suite NAME` and `support-agent feedback export`", [None, None]),
        ("kubectl -n support-agent create secret generic support-agent --from-env-file=production.env", []),
        ("`support-agent start`, then\nuv run support-agent serve --speed 9", ["start", "--speed"]),
        ("uv run support-agent feedback import", ["import"]),
        ("`support-agent feedback\n  export`", [None]),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, found: list[str | None]) -> None:
    """Subcommands and options count; what else is called support-agent does not."""
    assert [unknown(arguments) for arguments in commands(text)] == found


@cache
def metric_names() -> frozenset[str]:
    """Return the names of metrics and of spans' attributes, with underscores as Prometheus writes them."""
    sources = [*(REPOSITORY / "api").rglob("*.py"), *(REPOSITORY / "graph").rglob("*.py")]
    pattern = r'"(?:support_agent|\{NAMESPACE\})\.([a-z_.]+)"'
    return frozenset(name.replace(".", "_") for path in sources for name in re.findall(pattern, text_of(path)))


def old_names(text: str) -> list[str]:
    """Return where a text names the folder and the package that the code was once in."""
    found = re.findall(r"(?<![\w./-])src/\S*", text)
    for name, rest in re.findall(r"\b(support_agent(?:[._](\w+))?)", text):
        if rest and any(rest.startswith(metric) for metric in metric_names()):
            continue
        found.append(name)
    return found


@each_document
def test_no_document_names_what_is_gone(document: Path) -> None:
    """The packages stand at the top level; only metrics and spans have the old package's name."""
    assert document == CHANGELOG or old_names(text_of(document)) == []


def test_what_is_gone_is_found() -> None:
    """A module's path is found beside metrics, which are not."""
    assert "active_runs" in metric_names()
    assert (
        old_names("support_agent_active_runs, `support_agent.run_id`, support_agent_first_token_seconds_bucket") == []
    )
    assert old_names("`src/support_agent/api`, from support_agent.evals") == [
        "src/support_agent/api`,",
        "support_agent",
        "support_agent.evals",
    ]
