"""STOW-RS: towards a server that answers by a script, and towards Orthanc's DICOMweb plug-in."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from node.checks import Check, Verdict, run_checks
from node.delivery.stow import StowRs
from node.errors import DeliveryError, RefusedError, SettingsError
from node.records import DeliveryState
from node.settings import DestinationSettings, Settings
from tests.conftest import needs_file
from tests.delivery.desk import CALLER, REPORT, SEG, Desk, objects
from tests.peers import Orthanc

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


class Origin:
    """A DICOMweb server: `answers` are status and body of each request, the last for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any] | str]] = [(200, {})]
        self.requests: list[tuple[str, str, bytes]] = []  # path, authorization, body
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.path, self.headers.get("Authorization", ""), body))
                status, said = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                content = (said if isinstance(said, str) else json.dumps(said)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/dicom-web"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.stop()


def stow(url: str, **options: str) -> StowRs:
    return StowRs(DestinationSettings(name="pacs", kind="dicomweb", options={"url": url} | options), CALLER)


def sequence(tag: str, reason: str, value: int) -> dict[str, Any]:
    """Return a Store Instances Response Module with one item (PS3.18 table I.2-1)."""
    return {tag: {"vr": "SQ", "Value": [{reason: {"vr": "US", "Value": [value]}}]}}


def failed(reason: int) -> dict[str, Any]:
    return sequence("00081198", "00081197", reason)


@pytest.mark.parametrize(
    ("status", "said", "stored", "permanent", "words"),
    [
        (200, {}, True, False, "0x0000"),
        (200, sequence("00081199", "00081196", 0xB000), True, False, "0xB000"),
        (202, failed(0xA700), False, False, "0xA700"),
        (202, failed(0x0122), False, True, "0x0122"),
        (409, failed(0xA900), False, True, "0xA900"),
        (409, failed(0x0110), False, False, "0x0110"),
        (409, "<html>", False, False, "HTTP 409"),
        (400, {}, False, True, "HTTP 400"),
        (415, {}, False, True, "HTTP 415"),
        (503, {}, False, False, "HTTP 503"),
        (429, {}, False, False, "HTTP 429"),
    ],
)
def test_every_answer_has_its_meaning(
    origin: Origin, status: int, said: dict[str, Any] | str, stored: bool, permanent: bool, words: str
) -> None:
    origin.answers = [(status, said)]

    answer = next(iter(stow(origin.url).deliver(objects()[:1])))

    assert (answer.stored, answer.permanent, answer.status) == (stored, permanent, words)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_does_not_let_us_in_refuses_for_good(origin: Origin, status: int) -> None:
    origin.answers = [(status, {})]

    with pytest.raises(RefusedError, match=f"HTTP {status}"):
        list(stow(origin.url).deliver(objects()))


def test_a_server_that_is_away_or_sends_us_elsewhere_is_tried_again_later(origin: Origin) -> None:
    with pytest.raises(DeliveryError, match="cannot be reached"):
        list(stow("http://127.0.0.1:1/dicom-web").deliver(objects()))
    origin.answers = [(302, {})]
    with pytest.raises(DeliveryError, match="cannot be reached"):
        list(stow(origin.url).deliver(objects()))


def test_each_object_is_a_request_of_its_own_in_their_order_with_the_token(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")

    list(stow(origin.url, token_file=str(tmp_path / "token")).deliver(objects()))

    assert [(path, token) for path, token, _ in origin.requests] == [("/dicom-web/studies", "Bearer abc")] * 2
    assert [uid.encode() in body for uid, (_, _, body) in zip((SEG, REPORT), origin.requests, strict=True)] == [
        True
    ] * 2
    assert REPORT.encode() not in origin.requests[0][2]


def test_the_first_that_is_worth_trying_again_holds_up_the_rest(desk: Desk, origin: Origin) -> None:
    job = desk.owe()
    origin.answers = [(503, {}), (200, {})]
    outbox = desk.outbox(stow(origin.url))

    desk.run(outbox)
    at_first = desk.states(job)
    desk.run(outbox, after_s=100.0)

    assert at_first == [(DeliveryState.OWED, "HTTP 503"), (DeliveryState.OWED, "not sent in this attempt")]
    assert desk.states(job) == [(DeliveryState.STORED, "0x0000")] * 2


def said_of(server: StowRs) -> str:
    """Return what a server says when it is asked beforehand, as an error or not."""
    try:
        return server.reach()
    except DeliveryError as error:
        return str(error)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "HTTP 200"),
        (404, "HTTP 404: nothing is found under the url, unless it only stores"),
        (503, "HTTP 503: deliveries may wait"),
        (302, "it sends us elsewhere: deliveries will wait for another url"),
    ],
)
def test_a_server_is_asked_beforehand_whether_it_lets_us_in(
    origin: Origin, tmp_path: Path, status: int, words: str
) -> None:
    (tmp_path / "token").write_text("abc\n")
    origin.answers = [(status, {})]

    assert said_of(stow(origin.url, token_file=str(tmp_path / "token"))) == words
    assert origin.requests[0][:2] == ("/dicom-web/studies?limit=1", "Bearer abc")


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_does_not_let_us_in_fails_the_check(origin: Origin, tmp_path: Path, status: int) -> None:
    origin.answers = [(status, {})]
    web = {"name": "web", "kind": "dicomweb", "options": {"url": origin.url}}
    settings = Settings.checked({"node": {"data_dir": str(tmp_path)}, "association": {"port": 0}, "destination": [web]})

    (found,) = (one for one in run_checks(settings) if one.name == "dicomweb web")

    words = f"HTTP {status}: it does not let us in, everything would be parked"
    assert found == Check("dicomweb web", words, Verdict.FAULT)


def test_what_is_missing_to_ask_a_server_is_told(tmp_path: Path) -> None:
    assert said_of(stow("http://127.0.0.1:1")) == "cannot be reached, or does not answer: deliveries will wait"
    without_ca = said_of(stow("https://127.0.0.1:1", ca=str(tmp_path / "ca")))
    assert without_ca == "the file with its CA could not be read: deliveries will wait"
    without_token = said_of(stow("http://127.0.0.1:1", token_file=str(tmp_path / "token")))
    assert without_token == "the token file could not be read (No such file or directory): deliveries will wait"


def test_options_that_it_does_not_know_are_a_fault_of_the_settings() -> None:
    with pytest.raises(SettingsError, match="needs options with a url"):
        StowRs(DestinationSettings(name="pacs", kind="dicomweb"), CALLER)
    with pytest.raises(SettingsError, match="not tokn"):
        stow("http://127.0.0.1", tokn="x")


def test_what_only_dimse_can_do_is_a_fault_of_the_settings_elsewhere() -> None:
    web = {"name": "web", "kind": "dicomweb", "options": {"url": "http://127.0.0.1"}}
    with pytest.raises(SettingsError, match="commitment goes with kind 'dicom' only"):
        Settings.checked({"destination": [web | {"commitment": True}]})
    with pytest.raises(SettingsError, match="verify needs a query_host"):
        Settings.checked({"destination": [web | {"verify": True}]})


@pytest.mark.slow
def test_orthanc_takes_the_objects_and_gives_them_out_as_they_were(desk: Desk, tmp_path: Path) -> None:
    needs_file(PLUGIN, "orthanc-dicomweb")
    orthanc = Orthanc(tmp_path / "orthanc", Plugins=[PLUGIN])
    try:
        job = desk.owe()
        outbox = desk.outbox(stow(f"http://127.0.0.1:{orthanc.http_port}/dicom-web"))
        desk.run(outbox)
        desk.deliveries.advance(
            SEG, "pacs", DeliveryState.OWED, "", was=DeliveryState.STORED, now=desk.now, next_try_s=desk.now
        )
        desk.run(outbox)  # once more, as after a crash

        assert desk.states(job) == [(DeliveryState.STORED, "0x0000")] * 2
        assert len(orthanc.instances()) == 2
    finally:
        orthanc.stop()
