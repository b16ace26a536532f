"""An engine gets the settings that it has, all that it needs, and a host to run on."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity, Run
from fleet.targets.engine_settings import ENGINE_SETTINGS, missing_settings, unknown_settings
from fleet.validate.context import Context, error, few
from fleet.validate.inherited import is_typed

CODES = ("engine-setting-unknown", "engine-setting-missing", "engine-without-host")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each entity that says `run`; a setting that it only inherits may be meant for others of its kind."""
    for entity in context.inventory.entities:
        run = entity.run
        if run is None:
            continue
        for name in unknown_settings(run.engine, run.settings):
            if is_typed(entity, "run", name):
                yield _unknown(entity, run, name)
        missing = missing_settings(run.engine, run.settings)
        if missing:
            text = (
                f"{entity.name} is served by {run.engine} without {few(missing)}; fleet guesses neither folders nor"
                " quotas (a wrong one loses images) and could not render it; add it under `run`"
            )
            yield error("engine-setting-missing", text, run.location, about=(entity.ae_title,))
        if run.engine != "none" and not entity.instances:
            text = (
                f"{entity.name} is to be served by {run.engine} and has no `instances`; nothing would be installed"
                " anywhere; say on which host it runs, or drop `run` where it is a vendor's box"
            )
            yield error("engine-without-host", text, run.location, about=(entity.ae_title,))


def _unknown(entity: Entity, run: Run, name: str) -> Problem:
    has = [engine for engine, settings in ENGINE_SETTINGS.items() if name in settings.known]
    known = sorted(ENGINE_SETTINGS[run.engine].known)
    text = (
        f"{entity.name} is served by {run.engine}, which has no setting {name!r} ({few(has) if has else 'no engine'}"
        f" has); what was meant would not happen; it has {few(known, 12) if known else 'none'}; remove it, or change"
        " the engine"
    )
    return error("engine-setting-unknown", text, run.at(name), about=(entity.ae_title,))
