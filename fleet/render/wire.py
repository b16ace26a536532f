"""What a rendering child sends back: JSON lines, checked as they are read.

The child runs templates that nobody vouches for, so what it says is read as data, never as pickled objects.
"""

import json
from collections.abc import Mapping
from typing import Any

from fleet.errors import Location, Problem, Severity
from fleet.render.artifacts import (
    FileCheck,
    FolderNeed,
    Needs,
    Program,
    RenderedFile,
    RenderedHost,
    RenderedService,
)

Result = tuple[str, RenderedHost | None, tuple[Problem, ...]]


def encode_begin(host: str) -> bytes:
    """The child begins with a host."""
    return _line({"begin": host})


def encode_end() -> bytes:
    """The child has done everything."""
    return _line({"end": True})


def encode_failure(message: str) -> bytes:
    """The child met something that is no template's fault."""
    return _line({"failure": message})


def encode_result(result: Result) -> bytes:
    """One host's result."""
    name, host, problems = result
    files = None if host is None else _encode_host(host)
    return _line({"host": name, "rendered": files, "problems": [_encode_problem(problem) for problem in problems]})


def decode_result(message: dict[str, Any], programs: Mapping[str, Program]) -> Result:
    """The result that `encode_result` sent; a program's bytes do not travel, the child names it by its digest."""
    name: str = message["host"]
    rendered = message["rendered"]
    known = {program.digest: program for program in programs.values()}
    host = None if rendered is None else _decode_host(name, rendered, known)
    return name, host, tuple(_decode_problem(problem) for problem in message["problems"])


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _encode_host(host: RenderedHost) -> list[Any]:
    files = [
        [
            file.path,
            file.content,
            file.mode,
            file.owner,
            [file.check.name, file.check.script] if file.check else None,
            file.restarts,
            file.reloads,
            file.handler,
            file.program.digest if file.program else None,
            file.secrets,
        ]
        for file in host.files
    ]
    services = [[each.unit, each.ours, each.port, each.drain_s] for each in host.services]
    folders = [[each.path, each.owner, each.mode] for each in host.needs.folders]
    return [files, services, host.needs.programs, host.needs.pythons, host.needs.users, folders]


def _decode_host(name: str, value: list[Any], known: Mapping[str, Program]) -> RenderedHost:
    files, services, programs, pythons, users, folders = value
    return RenderedHost(
        name,
        tuple(_decode_file(name, file, known) for file in files),
        tuple(RenderedService(*service) for service in services),
        Needs(tuple(programs), tuple(users), tuple(FolderNeed(*folder) for folder in folders), tuple(pythons)),
    )


def _decode_file(host: str, value: list[Any], known: Mapping[str, Program]) -> RenderedFile:
    path, content, mode, owner, check, restarts, reloads, handler, digest, secrets = value
    made = FileCheck(*check) if check else None
    spans = tuple((start, end) for start, end in secrets)
    program = known[digest] if digest else None
    return RenderedFile(
        host, path, content, mode, owner, made, tuple(restarts), tuple(reloads), handler, program, spans
    )


def _encode_problem(problem: Problem) -> list[Any]:
    places = [[at.document, at.line, at.column, at.pointer] for at in (problem.location, *problem.also)]
    return [problem.code, problem.severity.value, problem.message, places, problem.subjects]


def _decode_problem(value: list[Any]) -> Problem:
    code, severity, message, places, subjects = value
    location, *also = (Location(*place) for place in places)
    return Problem(code, Severity(severity), message, location, tuple(also), tuple(subjects))
