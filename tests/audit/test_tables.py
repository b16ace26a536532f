"""Node tables: what a server's own file admits against what the flows allow."""

from fleet.audit.tables import ANYBODY, Admission, check_admissions, parse_admissions

CONFIG = """\
# a comment
NetworkTCPPort = 11112
HostTable BEGIN
p1 = (CT_ER, 10.20.1.11, 104)
p2 = (MR_2, 10.20.1.12, 104)
g1 = p1
g2 = g1, p2
HostTable END
VendorTable BEGIN
"Example" = g2
VendorTable END
AETable BEGIN
ARCHIVE /var/lib/dcmtk/ARCHIVE RW (500, 1024mb) g2
OTHER /var/lib/dcmtk/OTHER R (10, 4mb) (WS_1, 10.0.0.1, 11112)
AETable END
"""


def test_groups_over_groups_are_followed() -> None:
    assert parse_admissions(CONFIG) == {
        Admission("ARCHIVE", "CT_ER", "10.20.1.11"),
        Admission("ARCHIVE", "MR_2", "10.20.1.12"),
        Admission("OTHER", "WS_1", "10.0.0.1"),
    }


def test_any_admits_everybody() -> None:
    opened = CONFIG.replace("1024mb) g2", "1024mb) ANY")
    assert Admission("ARCHIVE", ANYBODY, ANYBODY) in parse_admissions(opened)


def test_a_planted_caller_and_a_forgotten_one_are_both_told() -> None:
    planted = CONFIG.replace("g2 = g1, p2", "p3 = (INTRUDER, 10.6.6.6, 104)\ng2 = g1, p3")
    findings = list(check_admissions("north-1", "/etc/x.cfg", CONFIG, planted))
    assert [(finding.code, finding.host) for finding in findings] == [
        ("caller-not-in-inventory", "north-1"),
        ("caller-missing-on-host", "north-1"),
    ]
    assert "INTRUDER at 10.6.6.6" in findings[0].message
    assert "MR_2" in findings[1].message


def test_the_same_table_has_no_finding() -> None:
    assert list(check_admissions("h", "/p", CONFIG, CONFIG)) == []


def test_a_name_defined_twice_keeps_its_first_meaning_as_dcmqrscp_does() -> None:
    doubled = CONFIG.replace("p2 = (MR_2", "p1 = (INTRUDER, 10.6.6.6, 1)\np2 = (MR_2")
    assert parse_admissions(doubled) == parse_admissions(CONFIG)
