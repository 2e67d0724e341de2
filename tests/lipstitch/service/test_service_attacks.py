"""What a client, a page of another site, or a server that is called could do to the service, and must not."""

import pytest
from starlette.testclient import TestClient

from lipstitch.service.api.app import build_app
from lipstitch.service.settings import ServiceSettings, check_settings
from tests.support.service import TOKEN

LOCAL = "http://127.0.0.1:8765"
FRAME = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
PICTURE = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
TYPED = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def client_of(tmp_path, **settings):
    """Return a client of a service in this process; no worker is there."""
    checked = check_settings(ServiceSettings(folder=tmp_path / "service", **settings))
    return TestClient(build_app(checked), base_url=LOCAL)


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("headers", [{"host": "[::1"}, {"host": "[x]"}, {"origin": "http://["}, {"origin": "//[:"}])
def test_an_address_that_is_none_is_refused(tmp_path, token, headers):
    answer = client_of(tmp_path, token=token).get("/v2/generations", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"] == "The header Host or Origin is not an address."


@pytest.mark.parametrize(("headers", "status"), [(FRAME, 403), (PICTURE, 403), (LINK, 200), (OWN, 200), (TYPED, 200)])
def test_pages_of_other_sites_cannot_embed_it(tmp_path, headers, status):
    """In a frame its buttons could be clicked by someone who sees another page; a browser states no Origin then."""
    client = client_of(tmp_path)
    assert client.get("/v2/generations", headers=headers).status_code == status
    unknown = "01a2302e-8ef3-7a13-8f6e-e532b0bdfb9f"
    answer = client.get(f"/v2/generate/{unknown}/output/result.mp4", headers=headers)
    assert "it is signed" in answer.json()["message"], "anyone who was told the address of a result may embed it"
