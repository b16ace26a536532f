import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.manifest import BrokenManifestError, Manifest, ManifestFile, format_manifest, parse_manifest

names = st.text("abcxyz09._-@+", min_size=1, max_size=12).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
entries = st.builds(
    ManifestFile,
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(0, 0o7777),
    st.sampled_from(["root:root", "dcmtk:dcmtk"]),
)
manifests = st.builds(
    Manifest,
    st.dictionaries(paths, entries, max_size=5),
    st.lists(st.sampled_from(["a.service", "b.timer"]), unique=True).map(lambda units: tuple(sorted(units))),
)
SAMPLE = Manifest({"/etc/a": ManifestFile("0" * 64, 0o644, "root:root")}, ("a.service",))


@given(manifests)
def test_what_was_written_is_read_back(manifest: Manifest) -> None:
    assert parse_manifest(format_manifest(manifest)) == manifest


def test_a_manifest_cut_off_anywhere_is_broken_and_not_shorter() -> None:
    text = format_manifest(SAMPLE)
    for length in range(len(text)):
        with pytest.raises(BrokenManifestError):
            parse_manifest(text[:length])


@pytest.mark.parametrize(
    "line",
    [
        f"file {'0' * 64} 0644 root:root /etc/../shadow",
        f"file {'0' * 64} 0644 root:root etc/passwd",
        f"file {'0' * 64} 0644 root:root /etc/$(reboot)",
        f"file {'0' * 64} 0644 root:root /var/lib/fleet/manifest",
        f"file {'0' * 63} 0644 root:root /etc/x",
        f"file {'0' * 64} 9999 root:root /etc/x",
        f"file {'0' * 64} ٠٦٤٤ root:root /etc/x",
        f"file {'0' * 64} 0644 root /etc/x",
        "unit ../x.service",
        "unit --now",
        "exec reboot",
        "",
    ],
)
def test_a_host_cannot_name_what_we_would_not_have_written(line: str) -> None:  # T40
    with pytest.raises(BrokenManifestError, match="line 2"):
        parse_manifest(f"fleet-manifest 1\n{line}\nend 1\n")


def test_a_newer_manifest_is_refused() -> None:
    with pytest.raises(BrokenManifestError, match="newer"):
        parse_manifest(format_manifest(SAMPLE).replace("manifest 1", "manifest 2"))
