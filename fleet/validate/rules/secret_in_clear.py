"""What keepalived sends in clear on the wire need not lie in clear in the inventory as well."""

from collections.abc import Iterator
from typing import Any

from fleet.errors import Problem
from fleet.inventory.model import Vrrp
from fleet.validate.context import Context, error, warning

CODES = ("vrrp-password-in-clear", "vrrp-password-form")
WAIVABLE = ("vrrp-password-in-clear",)
_MOST_CHARACTERS = 8  # keepalived.conf(5): the rest would be cut off in silence


def check(context: Context) -> Iterator[Problem]:
    """Each `auth_pass`, and whether keepalived takes the one that was opened."""
    for service in context.inventory.virtual_services:
        vrrp = service.vrrp
        if vrrp is None or vrrp.auth_pass is None:
            continue
        about = (service.entity, service.name)
        if isinstance(_typed(vrrp), str):
            text = (
                f"auth_pass of {service.name} stands in clear in the inventory; everybody who reads it, or a copy in"
                " fleet's history, has it; encrypt it with `ansible-vault encrypt_string` as a !vault value"
            )
            yield warning("vrrp-password-in-clear", text, vrrp.at("auth_pass"), about=about)
        elif vrrp.auth_pass.is_open and not _is_fit(vrrp.auth_pass.reveal()):
            text = (
                f"auth_pass of {service.name} has not the form that keepalived compares (1 to {_MOST_CHARACTERS}"
                " letters and digits); its partner would read another one, and both would hold the address;"
                " make a new one"
            )
            yield error("vrrp-password-form", text, vrrp.at("auth_pass"), about=about)


def _typed(vrrp: Vrrp) -> Any:
    value: Any = vrrp.origin.document.value if vrrp.origin.document else {}
    for step in (*vrrp.origin.steps, "auth_pass"):
        value = value[step]
    return value


def _is_fit(text: str) -> bool:
    return text.isascii() and text.isalnum() and len(text) <= _MOST_CHARACTERS
