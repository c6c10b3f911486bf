"""The report of an evaluation: Markdown, HTML with plots, and JUnit XML."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from evals.baseline import BaselineCase
from evals.cases import AnyOf, Case
from evals.evaluation import Evaluation, dollars, failures, results
from evals.gate import CONFIDENCE, Paired, Rate, percentile, rate_of
from evals.outcome import Outcome

MARK = "<!-- support-agent eval -->"
"""First line of the Markdown, which identifies the comment on a pull request that is to be updated."""

_MEANS = {"recall": "retrieval recall", "reciprocal_rank": "retrieval MRR", "groundedness": "grounded answers"}
_MOST_SHOWN = 40  # regressed cases, because GitHub limits the length of a comment
_BEFORE_SVG = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}"
    "blockquote{border-left:.25em solid #ccc;margin:0;padding-left:1em}svg{max-width:100%;height:auto}"
)


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write report.md, report.html and junit.xml into a folder, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(evaluation)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(_html(text, evaluation), encoding="utf-8")
    (folder / "junit.xml").write_text(_junit(evaluation), encoding="utf-8")


def markdown(evaluation: Evaluation) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    verdict = evaluation.verdict
    parts = [
        MARK,
        f"## Evaluation: {'passed' if verdict.passed else 'blocked'}",
        _about(evaluation),
        _table(
            ("check", "", "result"),
            ((check.name, "✅" if check.passed else "❌", check.detail) for check in verdict.checks),
        ),
        "### Pass rates",
        _table(
            ("suite", "cases", "passed", "rate", f"{CONFIDENCE:.0%} interval", "baseline"),
            _rates(evaluation),
        ),
        _figures(evaluation),
    ]
    if verdict.paired:
        parts += ["### Compared with the baseline", _paired(verdict.paired)]
        parts += _changed("Regressed", verdict.paired.worse, evaluation, _before(evaluation))
        if verdict.paired.better:
            parts.append(f"Improved: {', '.join(f'`{case}`' for case in verdict.paired.better)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(evaluation: Evaluation) -> str:
    plan = evaluation.plan
    runs = f", {plan.repeats} runs each" if plan.repeats > 1 else ""
    lines = [
        f"{len(evaluation.dataset.cases)} cases{runs}, dataset `{plan.dataset.hash}`, answered by {evaluation.models}."
    ]
    if plan.before and plan.before.models != evaluation.models:
        lines.append(f"The baseline is from {plan.before.models}.")
    if plan.offline:
        lines.append("The offline model ignores instructions, so only an evaluation of a configured model tests them.")
    if evaluation.unmeasured:
        lines.append(
            f"Not measured, because they got no answer: {', '.join(f'`{case}`' for case in evaluation.unmeasured)}."
        )
    if evaluation.experiment:
        lines.append(f"LangSmith experiment: {evaluation.experiment}.")
    if judged := evaluation.judged:
        good = sum(judged.good.values()) / len(judged.good)
        says = "enough to count" if judged.counts else "too low to count"
        lines.append(
            f"The judge {judged.model} finds {good:.1%} of the answers good. Its agreement with our {judged.labels} "
            f"labels is κ = {judged.kappa:.2f}, {says}."
        )
    if evaluation.judge_error:
        lines.append(f"The judge does not count: {evaluation.judge_error}.")
    return " ".join(lines)


def _rates(evaluation: Evaluation) -> Iterable[Sequence[str]]:
    verdict, before, dataset = evaluation.verdict, _before(evaluation), evaluation.dataset
    for suite, rate in verdict.suites.items():
        yield suite, *_rate(rate, before, [case.id for case in dataset.suites[suite]])
    found = results(dataset, evaluation.scores)
    everything = [case.id for case in dataset.cases]
    yield "**all**", *_rate(verdict.overall, before, everything)
    for split in ("tune", "held_out"):
        some = {case.id for case in dataset.cases if case.split == split}
        if some_results := [result for result in found if result.case in some]:
            yield split, *_rate(rate_of(some_results), before, sorted(some))
    if verdict.pass_3:
        yield "pass^3", *_rate(verdict.pass_3, {}, [])


def _rate(rate: Rate, before: Mapping[str, BaselineCase], cases: Sequence[str]) -> tuple[str, ...]:
    earlier = "" if (share := _earlier(before, cases)) is None else f"{share:.1%}"
    return str(rate.cases), f"{rate.passed:g}", f"{rate.rate:.1%}", f"{rate.low:.1%} to {rate.high:.1%}", earlier


def _before(evaluation: Evaluation) -> Mapping[str, BaselineCase]:
    return evaluation.plan.before.cases if evaluation.plan.before else {}


def _earlier(before: Mapping[str, BaselineCase], cases: Sequence[str]) -> float | None:
    """Return the share of these cases that passed in the baseline; None if it does not have all of them."""
    if not cases or not before.keys() >= set(cases):
        return None
    return sum(before[case].passed for case in cases) / len(cases)


def _figures(evaluation: Evaluation) -> str:
    runs = _runs(evaluation)
    seconds = [outcome.seconds for outcome in runs]
    rows = [(name, f"{mean:.1%}") for key, name in _MEANS.items() if (mean := evaluation.mean(key)) is not None]
    rows += [(f"latency p{share * 100:g}", f"{percentile(seconds, share):.2f} s") for share in (0.5, 0.95)]
    rows.append(("tokens", str(sum(outcome.tokens for outcome in runs))))
    rows.append(("cost", "unknown" if (cost := dollars(runs)) is None else f"${cost:.4f}"))
    return _table(("metric", "mean or total"), rows)


def _paired(paired: Paired) -> str:
    table = _table(
        ("", "passes now", "fails now"),
        (
            ("passed before", str(paired.both), f"**{paired.fails}**"),
            ("failed before", str(paired.passes), str(paired.neither)),
        ),
    )
    return (
        f"{table}\n\nBy intent: {paired.worse_intents} worse, {paired.better_intents} better; "
        f"one-sided exact McNemar test: p = {paired.p:.3g}."
    )


def _changed(title: str, cases: Sequence[str], evaluation: Evaluation, before: Mapping[str, BaselineCase]) -> list[str]:
    if not cases:
        return []
    known = {case.id: case for case in evaluation.dataset.cases}
    parts = [f"### {title}"]
    for name in cases[:_MOST_SHOWN]:
        wrong = [failures(scores) for scores in evaluation.scores[name]]
        run = next((number for number, some in enumerate(wrong) if some), 0)
        parts.append(_one(known[name], evaluation.outcomes[name][run], wrong[run], before[name]))
    if len(cases) > _MOST_SHOWN:
        rest = ", ".join(f"`{name}`" for name in cases[_MOST_SHOWN:])
        parts.append(f"And {len(cases) - _MOST_SHOWN} more: {rest}.")
    return parts


def _one(case: Case, outcome: Outcome, wrong: Sequence[str], before: BaselineCase) -> str:
    said = [*case.history, case.question]
    lines = [
        f"#### `{case.id}`",
        *(f"**Customer:** {_inline(message)}" for message in said),
        f"**Expected:** {_inline('; '.join(_expected(case)))}",
        f"**Before** ({'passed' if before.passed else _inline(', '.join(before.failed))}): {_inline(before.answer)}",
        f"**After:** {_inline(outcome.answer or outcome.error or '')}",
        f"**Wrong:** {_inline('; '.join(wrong))}",
    ]
    return "\n\n".join(lines)


def _expected(case: Case) -> list[str]:
    parts = [f"category {case.category}"] if case.category else []
    parts += [f"article {_or(article)}" for article in case.articles]
    parts += [f"says {_or(fact)}" for fact in case.must]
    parts += [f"does not say {fact!r}" for fact in case.must_not]
    if case.hands_over is not None:
        parts.append("is handed over" if case.hands_over else "is not handed over")
    if case.proposes:
        parts.append(f"proposes {case.proposes}")
    return [*parts, *(["says that it does not know, and names a contact"] if case.refuses else [])]


def _or(several: AnyOf) -> str:
    return repr(several) if isinstance(several, str) else " or ".join(map(repr, several))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(_inline(cell) if cell[:2] != '**' else cell for cell in line)} |" for line in lines
    )


def _inline(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line of one table cell."""
    text = _NOT_XML.sub("\ufffd", " ".join(text.split()))
    for sign in "\\`*_<>[]|#&~":
        text = text.replace(sign, f"\\{sign}")
    for sign in ("@", ":/", "www"):  # no mentions, no links
        text = text.replace(sign, f"{sign[0]}\u2060{sign[1:]}")
    return text


def _runs(evaluation: Evaluation) -> list[Outcome]:
    return [outcome for some in evaluation.outcomes.values() for outcome in some]


def _html(text: str, evaluation: Evaluation) -> str:
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text.removeprefix(MARK))
    plots = _plot_rates(evaluation) + _plot_latency(evaluation)
    head = f'<meta charset="utf-8"><title>Evaluation</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n{plots}\n</body></html>\n'


def _plot_rates(evaluation: Evaluation) -> str:
    verdict, suites = evaluation.verdict, list(evaluation.verdict.suites)
    rates = [verdict.suites[suite] for suite in suites]
    figure = Figure(figsize=(9, 1 + 0.5 * len(suites)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(suites))
    apart = [[rate.rate - rate.low for rate in rates], [rate.high - rate.rate for rate in rates]]
    axes.errorbar([rate.rate for rate in rates], places, xerr=apart, fmt="o", capsize=4, label="now")
    cases = {suite: [case.id for case in some] for suite, some in evaluation.dataset.suites.items()}
    shares = [_earlier(_before(evaluation), cases[suite]) for suite in suites]
    if any(share is not None for share in shares):
        axes.plot(
            [float("nan") if one is None else one for one in shares], places, "k|", markersize=14, label="baseline"
        )
    axes.set_yticks(list(places), suites)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"pass rate, with {CONFIDENCE:.0%} interval")
    axes.legend()
    return _svg(figure)


def _plot_latency(evaluation: Evaluation) -> str:
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.hist([outcome.seconds for outcome in _runs(evaluation)], bins=40)
    axes.set_xlabel("seconds to the complete answer")
    axes.set_ylabel("runs")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "support-agent"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return _BEFORE_SVG.sub("", str(text.getvalue()))


def _junit(evaluation: Evaluation) -> str:
    document = JUnitXml("support-agent eval")
    for suite, cases in evaluation.dataset.suites.items():
        tests = TestSuite(suite)
        for case in cases:
            tests.add_testcase(_test(case, suite, evaluation))
        document.add_testsuite(tests)
    document.update_statistics()
    return document.tostring().decode()  # pyright: ignore[reportUnknownVariableType] - lxml's type or the standard library's


def _test(case: Case, suite: str, evaluation: Evaluation) -> TestCase:
    runs = evaluation.outcomes[case.id]
    test = TestCase(case.id, f"evals.{suite}", sum(outcome.seconds for outcome in runs))
    now, before = evaluation.now[case.id], _before(evaluation).get(case.id)
    if not now.passed:
        wrong = next(some for scores in evaluation.scores[case.id] if (some := failures(scores)))
        is_known = before is not None and set(now.failed) <= set(before.failed)
        message = _NOT_XML.sub("\ufffd", "; ".join(wrong))
        test.result = [Skipped(f"as in the baseline: {message}") if is_known else Failure(message)]
    return test
