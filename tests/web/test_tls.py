"""https with a certificate of the studio's own."""

from __future__ import annotations

from pathlib import Path

from studios import serving

from difftool.web.tls import certificate, names_of


def test_https_by_a_certificate_that_only_its_owner_can_read(tmp_path: Path) -> None:
    made = certificate(tmp_path / "tls", names_of("0.0.0.0"))
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600, 0o600]
    before = made[0].read_bytes()
    assert certificate(tmp_path / "tls", ["localhost"])[0].read_bytes() == before  # it has that name too
    with serving(tmp_path, tls=made) as client:
        assert client("GET", "/api/jobs").status == 200
    assert certificate(tmp_path / "tls", ["elsewhere"])[0].read_bytes() != before
