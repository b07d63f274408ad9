"""Places for pictures that are full, slow or away: all ends with a sentence, and nothing half-written is shown."""

from __future__ import annotations

import hashlib
import io
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image as Pillow

from tests.chaos import faulty, ledger
from tests.chaos.bars import TIMEOUT_SECONDS, bar, sizes
from tests.chaos.engine import seed_for
from tests.chaos.faulty import FaultyStore
from tests.chaos.services import free_port
from tests.chaos.site import Answer, Member, Site

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)
BUCKET = "pictures"
KEYS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1"}
SMALL_DISK_BYTES = 2 * 2**20
PATIENCE_SECONDS = 90
SERVER_TROUBLE = "Something went wrong"


def photo(color: int) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (64, 64), (color, 90, 40)).save(out, "PNG")
    return out.getvalue()


def upload(member: Member, color: int) -> Answer:
    return member.ask("POST", "/api/v1/images/", photo(color), patience=PATIENCE_SECONDS)


def shown(member: Member) -> list[dict[str, Any]]:
    """The member's pictures that have a file, each of which comes whole."""
    listed = member.ask("GET", "/api/v1/images/").data["results"]
    whole = [one for one in listed if "original" in one["links"]]
    for one in whole:
        address = urlsplit(one["links"]["original"])
        answer = member.ask("GET", f"{address.path}?{address.query}")
        assert answer.status == 200, (one, answer)
        assert hashlib.sha256(answer.body).hexdigest() == one["sha256"]
    return whole


def job_ends(site: Site, member: Member, expected: str) -> str:
    """Ask for a picture, and see how the job ends. Its sentence."""
    asked = member.draw(seed_for(20))
    assert asked.status == 202, asked.text
    job = str(asked.data["id"])
    site.wait_for([job], PATIENCE_SECONDS)
    assert site.states([job])[job] == expected, site.explain()
    ledger.check_moves(site, [job])
    ((error,),) = site.rows("SELECT error FROM transforms_job WHERE id = %s", job)
    return str(error)


def check_sentence(text: str) -> None:
    """Something that tells a member what is the matter: no name of an exception, no bare apology."""
    assert text.endswith("."), text
    assert SERVER_TROUBLE not in text
    assert "Error" not in text, text


# --- A disk that is full -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("Only root may mount the small file system that is filled here.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_disk_that_is_full(small_disk: Path, make_site: Callable[..., Site]) -> None:
    site = make_site("disk", MEDIA_ROOT=str(small_disk / "media"))
    filler = small_disk / "filler"
    with site.working("first"):
        site.start_web()
        [member] = site.people("ada")
        assert upload(member, 1).status == 201
        job_ends(site, member, "succeeded")
        before = ledger.files(site)
        _fill(filler)
        refused = upload(member, 2)
        assert refused.status in {409, 413, 503, 507}, (refused.status, refused.text)
        check_sentence(refused.data["detail"])
        sentence = job_ends(site, member, "failed")
        check_sentence(sentence)
        assert ledger.files(site) == before
        assert len(shown(member)) == 2
        filler.unlink()
        assert upload(member, 2).status == 201
        job_ends(site, member, "succeeded")
        assert len(shown(member)) == 4
        assert ledger.orphans(site) == set()
        assert small_disk.exists()
    site.__exit__(None, None, None)
    bar("disk full (small tmpfs)", "the job fails with a sentence, nothing half-written", sentence, True)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            return


# --- An object store that fails ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield port
    server.stop()


@pytest.fixture(scope="module")
def store(moto: int) -> Iterator[FaultyStore]:
    with FaultyStore(moto) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(moto: int) -> Bucket:
    return Bucket(moto)


@pytest.fixture(scope="module")
def cloud(make_site: Callable[..., Site], store: FaultyStore, bucket: Bucket) -> Iterator[Site]:
    site = make_site(
        "cloud", MEDIA_S3_BUCKET=BUCKET, MEDIA_S3_ENDPOINT=store.url, MEDIA_S3_REGION="us-east-1", **KEYS
    )
    with site.working("first"):
        site.start_web()
        yield site
    site.__exit__(None, None, None)


class Bucket:
    """What really lies in the store, seen past the proxy."""

    def __init__(self, port: int) -> None:
        self._s3 = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="chaos",
            aws_secret_access_key="chaos",
        )
        self._s3.create_bucket(Bucket=BUCKET)

    def names(self) -> set[str]:
        listed = self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {str(one["Key"]) for one in listed if not one["Key"].startswith("probes/")}

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self._s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()).hexdigest()


def check_bucket(site: Site, bucket: Bucket) -> None:
    """Every file that a row names is there and whole, and there is no other."""
    rows = site.rows("SELECT file, thumbnail, sha256 FROM gallery_image WHERE file <> ''")
    assert {name for file, thumbnail, _ in rows for name in (file, thumbnail)} == bucket.names()
    for file, _, sha256 in rows:
        assert bucket.sha256(file) == sha256


@pytest.mark.parametrize("mode", sizes([faulty.FULL, faulty.CUT], [faulty.ERRORS, faulty.SILENT]))
def test_an_object_store_that_fails(cloud: Site, store: FaultyStore, bucket: Bucket, mode: str) -> None:
    [member] = cloud.people(mode)
    assert upload(member, 1).status == 201
    store.mode = mode
    try:
        refused = upload(member, 2)
        assert refused.status == 503, (refused.status, refused.text)
        check_sentence(refused.data["detail"])
        sentence = job_ends(cloud, member, "failed")
        check_sentence(sentence)
        assert member.ask("GET", "/api/v1/jobs/").status == 200
    finally:
        store.mode = faulty.WELL
    assert len(shown(member)) == 1
    check_bucket(cloud, bucket)
    assert upload(member, 2).status == 201
    job_ends(cloud, member, "succeeded")
    assert len(shown(member)) == 3
    check_bucket(cloud, bucket)
    bar(f"S3: {mode}", "the job fails with a sentence, nothing half-written", sentence, True)


def test_a_job_outlives_a_store_that_fails_for_a_moment(
    cloud: Site, store: FaultyStore, bucket: Bucket
) -> None:
    [member] = cloud.people("moment")
    store.mode = faulty.ERRORS
    try:
        asked = member.draw(seed_for(20))
        time.sleep(1)
    finally:
        store.mode = faulty.WELL
    job = str(asked.data["id"])
    cloud.wait_for([job], PATIENCE_SECONDS)
    assert cloud.states([job]) == {job: "succeeded"}
    check_bucket(cloud, bucket)
    bar("S3: errors for a second", "the job succeeds", "succeeded", True)


def test_a_slow_object_store(cloud: Site, store: FaultyStore, bucket: Bucket) -> None:
    [member] = cloud.people("slow")
    store.mode = faulty.SLOW
    try:
        assert upload(member, 1).status == 201
        job_ends(cloud, member, "succeeded")
        assert member.ask("GET", "/api/v1/jobs/").seconds < PATIENCE_SECONDS
    finally:
        store.mode = faulty.WELL
    assert len(shown(member)) == 2
    check_bucket(cloud, bucket)
    bar("S3: slow", "jobs and uploads succeed, later", "succeeded", True)
