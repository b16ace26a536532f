"""A small archive's file, and the addresses of the two floors, for the tests of the demo's archive."""

from fleet.demo.scp import Place

FLOOR_1, FLOOR_2, ARCHIVE = "127.0.21.41", "127.0.21.42", "127.0.21.11"
AREA = "/var/PACS"


def tables_of(floor_1: Place, floor_2: Place, second_title: str) -> str:
    """dcmqrscp.cfg with a row for each floor, the first one's title WS_1."""
    return f"""\
NetworkTCPPort  = 11112
MaxPDUSize      = 16384
MaxAssociations = 16
HostTable BEGIN
ae_WS_1/1 = (WS_1, {floor_1.address}, {floor_1.port})
ae_WS_2/1 = ({second_title}, {floor_2.address}, {floor_2.port})
fleet_PACS = ae_WS_1/1, ae_WS_2/1
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
PACS {AREA} RW (500, 1024mb) fleet_PACS
AETable END
"""
