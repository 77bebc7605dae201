"""A DICOMweb origin server as a destination: STOW-RS (PS3.18 section 10.5), one request an object.

So each object has an answer of its own, as by C-STORE, and one that is refused takes no other with it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import Dataset

from node.calling import Caller
from node.delivery.dicom import STORED
from node.errors import DeliveryError, RefusedError, SettingsError
from node.ports import Answer
from node.settings import DestinationSettings

_OPTIONS = ("url", "ca", "token_file")
_OF_THE_SETTINGS = (401, 403, 404, 405)  # who we are, or where we call: no object will fare better
_OF_THE_OBJECT = (400, 413, 415)  # PS3.18 table 10.5.3-1, RFC 9110: this one never will
_CONFLICT = 409  # PS3.18 table 10.5.3-1: none of the request was stored, and the body says why
_SOP_CLASS_NOT_SUPPORTED = 0x0122


class StowRs:
    """Kind "dicomweb"; its options are the URL of the service, and files with its CA and with a bearer token."""

    def __init__(self, settings: DestinationSettings, caller: Caller) -> None:
        unknown = sorted(set(settings.options) - set(_OPTIONS))
        if unknown or "url" not in settings.options:
            raise SettingsError(
                f"[[destination]] {settings.name}: kind 'dicomweb' needs options with a url, and knows "
                f"{', '.join(_OPTIONS)}" + (f", not {', '.join(unknown)}" if unknown else "")
            )
        self._name, self._options, self._caller = settings.name, settings.options, caller

    @property
    def name(self) -> str:
        return self._name

    def deliver(self, objects: Sequence[Dataset], _replaced: object = None, /) -> Iterator[Answer]:
        """Send the objects in their order; stop at the first that is worth trying again.

        Raises
        ------
        RefusedError
            If the server does not let us in, or is no such server.
        DeliveryError
            If it cannot be reached, or does not answer.
        """
        with requests.Session() as session:
            client = self._client(session)
            for one in objects:
                answer = self._store(client, one)
                yield answer
                if not (answer.stored or answer.permanent):
                    return

    def reach(self) -> str:
        """Return in words whether the server lets us in, asked for some study (QIDO-RS, PS3.18 section 10.6).

        Raises
        ------
        SettingsError
            If it does not.
        DeliveryError
            If it cannot be asked now, or says something else.
        """
        with requests.Session() as session:
            try:
                self._client(session)
                answer = session.get(
                    f"{self._options['url'].rstrip('/')}/studies", params={"limit": "1"},
                    headers={"Accept": "application/dicom+json"}, timeout=self._caller.silence_s,
                    stream=True,
                )  # fmt: skip
            except DeliveryError as error:
                raise DeliveryError(f"{error}: deliveries will wait") from error
            except requests.TooManyRedirects as error:
                raise DeliveryError("it sends us elsewhere: deliveries will wait for another url") from error
            except requests.RequestException as error:
                raise DeliveryError("cannot be reached, or does not answer: deliveries will wait") from error
            except OSError as error:  # of requests, before it connects
                raise DeliveryError("the file with its CA could not be read: deliveries will wait") from error
        match answer.status_code:
            case 401 | 403 as code:
                raise SettingsError(f"HTTP {code}: it does not let us in, everything would be parked")
            case 404 as code:
                raise DeliveryError(f"HTTP {code}: nothing is found under the url, unless it only stores")
            case code if code >= 400:  # an error of its own, or of what we ask: deliveries ask something else
                raise DeliveryError(f"HTTP {code}: deliveries may wait")
            case code:
                return f"HTTP {code}"

    def _client(self, session: requests.Session) -> DICOMwebClient:
        session.trust_env = False  # what our settings say, and no .netrc or proxy of the account that we run under
        session.max_redirects = 0  # a POST that is redirected becomes a GET
        if (ca := self._options.get("ca")) is not None:
            session.verify = ca
        if (file := self._options.get("token_file")) is not None:
            try:
                session.headers["Authorization"] = f"Bearer {Path(file).read_text().strip()}"
            except OSError as error:
                raise DeliveryError(f"the token file could not be read ({error.strerror})") from error
        client = DICOMwebClient(self._options["url"], session=session, timeout=self._caller.silence_s)
        client.set_http_retry_params(retry=False)  # the outbox does that
        return client

    def _store(self, client: DICOMwebClient, one: Dataset) -> Answer:
        uid = str(one.SOPInstanceUID)
        try:
            said = client.store_instances([one])
        except requests.HTTPError as error:
            return _refusal(uid, error)
        except (requests.RequestException, OSError) as error:  # also a certificate that nobody trusts, a missing CA
            raise DeliveryError("the DICOMweb server cannot be reached, or does not answer") from error
        failed = _reasons(said)
        if failed:
            return _failure(uid, failed[0])
        warnings = [
            int(item.WarningReason) for item in said.get("ReferencedSOPSequence", []) if "WarningReason" in item
        ]
        return Answer(uid, stored=True, permanent=False, status=f"0x{warnings[0] if warnings else 0:04X}")


def _refusal(uid: str, error: requests.HTTPError) -> Answer:
    response = error.response
    assert response is not None  # `raise_for_status` is the only one that raises it
    code = response.status_code
    if code in _OF_THE_SETTINGS:
        raise RefusedError(f"the DICOMweb server answers HTTP {code}") from error
    if code == _CONFLICT:
        try:
            said: Any = response.json()
            return _failure(uid, _reasons(Dataset.from_json(said[0] if isinstance(said, list) else said))[0])
        except Exception:  # no JSON, or none of ours: then nobody knows why
            return Answer(uid, stored=False, permanent=False, status=f"HTTP {code}")
    return Answer(uid, stored=False, permanent=code in _OF_THE_OBJECT, status=f"HTTP {code}")


def _failure(uid: str, reason: int) -> Answer:
    permanent = reason == _SOP_CLASS_NOT_SUPPORTED or reason & 0xFF00 == 0xA900  # PS3.18 table I.2-2, as by C-STORE
    return Answer(uid, stored=reason in STORED, permanent=permanent, status=f"0x{reason:04X}")


def _reasons(said: Dataset) -> list[int]:
    return [int(item.get("FailureReason", 0x0110)) for item in said.get("FailedSOPSequence", [])]
