"""A run for people, as text: what is wrong comes first, counts always last.

Everything that a peer, a host or a file said passes `safe_text` (T53). Colours are a `Palette`, empty when off.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from fleet.errors import Problem, Severity
from fleet.report.palette import PLAIN, Palette
from fleet.report.records import StoredRun
from fleet.report.share import add_since, find_shared_causes
from fleet.report.summary import (
    BoxLine,
    EchoLine,
    FindingLine,
    Folded,
    HostLine,
    RestartLine,
    RunReport,
    Verdict,
    WaiverLine,
    count_outcomes,
)
from fleet.sheet.safe import safe_line, safe_text

_VERDICT_STYLES: Final = {Verdict.GOOD: "good", Verdict.PENDING: "warn", Verdict.WRONG: "bad"}
_SHOWN_HOSTS: Final = 8


# Problems ------------------------------------------------------------------------------------------------


def format_problems(problems: Iterable[Problem], palette: Palette = PLAIN) -> str:
    """`path:line:column: severity[code] message`, sorted by file and line; a second place on its own line."""
    ordered = sorted(problems, key=lambda problem: problem.sort_key)
    return _text(line for problem in ordered for line in _problem(problem, palette))


def format_problems_short(problems: Iterable[Problem], palette: Palette = PLAIN) -> str:
    """Every error, but of each kind of warning the first alone: who reads what a run did knows them already."""
    ordered = sorted(problems, key=lambda problem: problem.sort_key)
    left = Counter(problem.code for problem in ordered if problem.severity is not Severity.ERROR)
    lines: list[str] = []
    for problem in ordered:
        more = 0 if problem.severity is Severity.ERROR else left.pop(problem.code, 0) - 1
        if more < 0:
            continue  # told with the first of its kind
        lines += _problem(problem, palette)
        lines += [f"    and {more} more of this kind; `fleet validate` tells each"] if more else []
    return _text(lines)


def _problem(problem: Problem, palette: Palette) -> Iterator[str]:
    style = "bad" if problem.severity is Severity.ERROR else "warn"
    word = palette.paint(style, f"{problem.severity}[{safe_text(problem.code)}]")
    yield f"{safe_text(str(problem.location))}: {word} {safe_text(problem.message)}"
    for place in problem.also:
        yield f"    and {safe_text(str(place))}"


def format_problem_counts(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    return f"{count_of(errors, 'error')}, {count_of(len(problems) - errors, 'warning')}"


def format_waivers(waivers: Iterable[WaiverLine], palette: Palette = PLAIN) -> str:
    """What a team has accepted, and until when."""
    word = palette.paint("warn", "waived:")
    return _text(
        f"{word} {safe_text(f'{each.code} for {each.where} until {each.until}: {each.reason}')}" for each in waivers
    )


# Plans and hosts -----------------------------------------------------------------------------------------


def format_plan(
    diffs: Iterable[Folded],
    counts: Mapping[str, int],
    palette: Palette = PLAIN,
    restarts: Sequence[RestartLine] = (),
) -> str:
    """Equal changes once, in the order given (the odd ones first), what restarts may cut, how much it would do."""
    lines = [line for diff in diffs for line in _diff(diff, palette)]
    return _text((*lines, *(_restart(each, palette) for each in restarts if each.open != 0), *_plan_counts(counts)))


def _restart(line: RestartLine, palette: Palette) -> str:
    """What a service's callers have to expect."""
    head, unit = f"{palette.paint('bold', safe_text(line.host))}: ", safe_text(line.unit)
    if line.open is None:
        return f"{head}how many associations are open on port {line.port}, where {unit} restarts, is not known"
    many = f"{count_of(line.open, 'association')} {'is' if line.open == 1 else 'are'}"
    return (
        f"{head}{palette.paint('warn', many)} open on port {line.port} now: the restart of {unit} waits up to "
        f"{line.drain_s:g} s for them, then cuts what is left"
    )


def _diff(diff: Folded, palette: Palette) -> Iterator[str]:
    names = ", ".join(safe_text(host) for host in diff.hosts[:_SHOWN_HOSTS])
    more = f" and {len(diff.hosts) - _SHOWN_HOSTS} more" if len(diff.hosts) > _SHOWN_HOSTS else ""
    number = "" if len(diff.hosts) == 1 else f"{len(diff.hosts)} hosts: "
    yield f"{palette.paint('bold', f'{number}{names}{more}')}: {safe_line(diff.lines[0])}"
    for line in diff.lines[1:]:
        style = {"+": "good", "-": "bad", "@": "dim"}.get(line[:1], "")
        yield f"    {palette.paint(style, safe_line(line))}"


def _plan_counts(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        done = [count_of(counts[key], *words) for key, *words in _COUNTED if counts.get(key)]
        hosts = f"{counts.get('changing', 0)} of {count_of(counts.get('hosts', 0), 'host')} would change"
        blocked = f"; {counts['blocked']} cannot be changed" if counts.get("blocked") else ""
        yield f"plan: {hosts}{': ' if done else ''}{', '.join(done)}{blocked}"


_COUNTED: Final = (
    ("writes", "written", "written"),
    ("removals", "removed", "removed"),
    ("units", "unit action", "unit actions"),
    ("handlers", "handler", "handlers"),
    ("associations", "open association that restarts may cut", "open associations that restarts may cut"),
)


def format_hosts(lines: Sequence[HostLine], palette: Palette = PLAIN, *, all_hosts: bool = False) -> str:
    """One line a host that changed or is not as desired (all of them if asked), then the counts."""
    if not lines:
        return ""
    ordered = sorted(lines, key=lambda line: (list(Verdict)[::-1].index(line.verdict), line.host))
    shown = [line for line in ordered if all_hosts or line.outcome != "unchanged"]
    width = max((len(line.outcome) for line in shown), default=0)
    host_width = max((len(safe_text(line.host)) for line in shown), default=0)
    rows = []
    for line in shown:
        word = palette.paint(_VERDICT_STYLES[line.verdict], safe_text(line.outcome).ljust(width))
        phase = f"{safe_text(line.phase)}: " if line.phase and line.detail else safe_text(line.phase)
        rows.append(f"{word}  {safe_text(line.host).ljust(host_width)}  {phase}{safe_text(line.detail)}".rstrip())
    return _text((*rows, f"{count_of(len(lines), 'host')}: {format_counts(count_outcomes(h.outcome for h in lines))}"))


def format_findings(findings: Sequence[FindingLine], palette: Palette = PLAIN) -> str:
    """What an audit found, by host and place."""
    if not findings:
        return ""
    ordered = sorted(findings, key=lambda finding: (finding.host, finding.path, finding.code, finding.message))
    lines = [
        f"{_where(finding)}{palette.paint('bad', safe_text(f'[{finding.code}]'))} {safe_text(finding.message)}"
        for finding in ordered
    ]
    return _text((*lines, count_of(len(findings), "finding")))


def _where(finding: FindingLine) -> str:
    """Host and place; nothing where the run itself was refused."""
    place = ":".join(part for part in (finding.host, finding.path) if part)
    return f"{safe_text(place)}: " if place else ""


# Sweeps --------------------------------------------------------------------------------------------------


def format_sweep(report: RunReport, palette: Palette = PLAIN, *, all_results: bool = False) -> str:
    """What failures share, then each failure, then warnings, then the summary (answered ones if asked)."""
    if not report.echoes and not report.unreported:
        return ""
    causes, _ = find_shared_causes(report.echoes)
    dated = (add_since(cause, report.failing_since, report.started_at) for cause in causes)
    shared = [palette.paint("bad", safe_text(str(cause))) for cause in dated]
    failing = sorted(report.failed_echoes, key=_echo_order)
    others = sorted((line for line in report.echoes if line.as_desired), key=_echo_order)
    shown = [*failing, *(line for line in others if all_results or line.warnings)]
    total = sum(report.echo_counts.values())
    gone = [f"{report.unreported} were asked and never reported"] if report.unreported else []
    summary = f"{count_of(total, 'association')}: {format_counts(report.echo_counts)}"
    return _text((*shared, *_echo_table(shown, palette), *gone, summary))


def _echo_order(line: EchoLine) -> tuple[str, str, str, int]:
    return (line.outcome, str(line.value("ae_title")), str(line.value("address")), line.value("port") or 0)


def _echo_table(lines: Sequence[EchoLine], palette: Palette) -> Iterator[str]:
    cells = [
        (line.outcome, safe_text(str(line.value("ae_title"))), format_place(line.value("address"), line.value("port")))
        for line in lines
    ]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(3)]
    for line, (outcome, title, place) in zip(lines, cells, strict=True):
        style = "bad" if not line.as_desired else "good" if outcome == "answered" else "warn"
        word = palette.paint(style, outcome.ljust(widths[0]))
        detail = safe_text(str(line.value("detail")))
        source = safe_text(str(line.value("from")))
        asker = "" if source == "controller" or detail.startswith(f"from {source}:") else f"(from {source}) "
        yield f"{word}  {title.ljust(widths[1])}  {place.ljust(widths[2])}  {asker}{detail}".rstrip()
        for warning in line.warnings:
            yield f"    {palette.paint('warn', 'warning:')} {safe_text(str(warning))}"


def format_place(address: object, port: object) -> str:
    """`address:port`, IPv6 addresses in brackets (RFC 3986 section 3.2.2)."""
    text = safe_text(str(address))
    host = f"[{text}]" if ":" in text else text
    return host if port is None else f"{host}:{port}"


# Boxes, summaries ----------------------------------------------------------------------------------------


def format_boxes(boxes: Sequence[BoxLine], unconfirmed: Sequence[str] = (), palette: Palette = PLAIN) -> str:
    """The boxes that a person has to change; those that nobody ever confirmed are one line."""
    lines = [palette.paint("warn", f"{count_of(len(boxes), 'box', 'boxes')} to change by hand:")] if boxes else []
    for box in boxes:
        contact = f" ({safe_text(box.contact)})" if box.contact else ""
        lines.append(f"    {safe_text(box.box)}: {safe_text(box.why)}{contact}")
        lines += [f"        {safe_text(change)}" for change in box.changes]
    if boxes:
        lines.append("    `fleet sheet TITLE` shows what to type, `fleet sheet TITLE --done` says that it is done")
    if unconfirmed:
        lines.append(
            f"{count_of(len(unconfirmed), 'box', 'boxes')} never confirmed by hand; `fleet sheet SEL` shows what they "
            "should hold, `fleet sheet SEL --done` says that they do"
        )
    return _text(lines)


def format_run(
    report: RunReport,
    palette: Palette = PLAIN,
    *,
    verbose: int = 0,
    quiet: bool = False,
    error_is_told: bool = False,
) -> str:
    """All of a run. With `quiet` nothing when all is well; an error that is told elsewhere is not told twice."""
    if quiet and report.exit_status == 0:
        return ""
    parts = (
        (format_problems if verbose else format_problems_short)(report.problems, palette),
        format_waivers(report.waivers, palette),
        format_plan(report.diffs, report.plan_counts, palette, report.restarts),
        format_hosts(report.all_hosts, palette, all_hosts=verbose > 0),
        format_findings([each for each in report.findings if not (error_is_told and _is_refusal(each))], palette),
        format_sweep(report, palette, all_results=verbose > 0),
        format_boxes(report.by_hand, report.unconfirmed, palette),
        *_remarks(report, palette, error_is_told=error_is_told),
        _text([_verdict(report, palette)]),
    )
    return "".join(parts)


def _remarks(report: RunReport, palette: Palette, *, error_is_told: bool = False) -> Iterator[str]:
    yield _text(f"{palette.paint('warn', 'warning:')} {safe_text(warning)}" for warning in report.warnings)
    yield _text(safe_text(notice) for notice in report.notices)
    yield _text([palette.paint("bad", safe_text(report.failure))] if report.failure and not error_is_told else ())


def _is_refusal(finding: FindingLine) -> bool:
    """Whether it is the run itself that was refused, not something that was found on a host."""
    return not finding.host and finding.code == "refused"


def _verdict(report: RunReport, palette: Palette) -> str:
    words = ("as desired", "fleet could not do its work", "something is wrong", "changes to hosts are pending")
    style = ("good", "bad", "bad", "warn")[report.exit_status]
    problems = f" ({format_problem_counts(report.problems)})" if report.problems else ""
    return f"{safe_text(report.verb)}: {palette.paint(style, words[report.exit_status])}{problems}"


def format_counts(counts: Mapping[str, int]) -> str:
    """`12 answered, 1 refused`; `none` where there is nothing to count."""
    return ", ".join(f"{number} {safe_text(word)}" for word, number in counts.items()) or "none"


# History -------------------------------------------------------------------------------------------------


def format_history(runs: Sequence[StoredRun], palette: Palette = PLAIN) -> str:
    """One line a run, the newest first."""
    if not runs:
        return "no runs yet\n"
    rows = [(run.start.started_at, run.run_id, _name(run), run.start.who, _ending(run), _more(run)) for run in runs]
    clean = [tuple(safe_text(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(5)]
    lines = []
    for run, row in zip(runs, clean, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        cells[4] = palette.paint(_ending_style(run), cells[4])
        lines.append("  ".join((*cells, row[5])).rstrip())
    return _text(lines)


def _more(run: StoredRun) -> str:
    """Behind the columns: its numbers, why it was made, of which commit."""
    commit = run.start.git_commit
    short = f"commit {commit[:12]}{commit[commit.find(' ') :] if ' ' in commit else ''}" if commit else ""
    return "; ".join(part for part in (format_stored_counts(run), run.start.reason, short) if part)


def format_stored_run(run: StoredRun, report: RunReport, palette: Palette = PLAIN) -> str:
    """One run in full: who, when, from where, of which inventory, its problems, what changed where, who is silent."""
    start = run.start
    facts = {
        "run": start.run_id,
        "fleet": start.fleet,
        "what": " ".join(start.argv) or _name(run),
        "who": f"{start.who} on {start.where}" if start.where else start.who,
        "when": f"{start.started_at} to {run.finished_at or '(cut off, or still running)'}",
        "ticket": start.ticket,
        "reason": start.reason,
        "inventory": start.inventory_digest,
        "commit": start.git_commit,
        "ended": _ending(run),
    }
    lines = [f"{key + ':':<11}{safe_text(value)}" for key, value in facts.items() if value]
    changes = [
        f"{safe_text(line.host)}: {safe_text(file.path)} {_short(file.before_digest)} -> {_short(file.after_digest)}"
        for line in report.all_hosts
        for file in line.files
    ]
    parts = (
        _text(lines),
        format_problems(report.problems, palette),
        _left_out(run, report),
        _text(changes),
        format_hosts(report.all_hosts, palette, all_hosts=True),
        format_sweep(report, palette),
        *_remarks(report, palette),
    )
    return "".join(parts)


def _left_out(run: StoredRun, report: RunReport) -> str:
    """Of thousands of problems the history keeps the first."""
    counts = run.summary.get("problems")
    total = sum(counts.values()) if isinstance(counts, Mapping) else 0
    more = total - len(report.problems)
    return _text([f"and {count_of(more, 'more problem')} that the history did not keep"] if more > 0 else ())


def format_stored_counts(run: StoredRun) -> str:
    """A run's numbers, from its stored summary."""
    parts = []
    for key, word in (("hosts", "hosts"), ("echoes", "echoes"), ("problems", "problems")):
        counts = run.summary.get(key)
        if isinstance(counts, Mapping) and any(counts.values()):
            told = {k.removesuffix("s") if key == "problems" and n == 1 else k: n for k, n in counts.items() if n}
            parts.append(f"{word}: {format_counts(told)}")
    return "; ".join(parts)


def _name(run: StoredRun) -> str:
    return f"run {run.start.playbook}" if run.start.playbook else run.start.verb


def _ending(run: StoredRun) -> str:
    if run.finished_at is None:
        return "unfinished"
    return {0: "ok", 1: "broken", 2: "wrong", 3: "pending"}.get(run.exit_status or 0, f"exit {run.exit_status}")


def _ending_style(run: StoredRun) -> str:
    return {"ok": "good", "pending": "warn", "unfinished": "warn"}.get(_ending(run), "bad")


def _short(digest: str | None) -> str:
    return safe_text(digest[:12]) if digest else "(none)"


def count_of(number: int, one: str, many: str | None = None) -> str:
    """`1 box`, `2 boxes`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
