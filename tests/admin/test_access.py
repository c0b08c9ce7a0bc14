"""Every route by every role, and what another site, a wrong token or a stolen form can do: nothing."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

from guardproxy.admin import ENDPOINTS, NO_AUTH, Endpoint, Role, make_app
from guardproxy.admin.sessions import LIFETIME_S, TRIES, WINDOW_S
from tests.admin.served import SECRETS, Answer, Served, serve
from tests.holds.samples import make_hold

WHO = {None: None, "viewer-a": Role.VIEWER, "reviewer-a": Role.REVIEWER, "operator-a": Role.OPERATOR}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def log_in(served: Served, who: str) -> dict[str, str]:
    """The cookie header of a fresh session."""
    answer = served.call("POST", "/login", headers=FORM, body=urlencode({"token": SECRETS[who]}))
    assert answer.status == 303
    return {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}


def csrf_of(served: Served, cookie: dict[str, str]) -> str:
    """The form token of a session."""
    match = re.search(r'name="csrf" value="([^"]+)"', served.call("GET", "/", headers=cookie).text)
    assert match
    return match.group(1)


def concrete(endpoint: Endpoint) -> str:
    """A path of an endpoint that leads somewhere."""
    path = endpoint.path.replace("{id}", "dec_0001" if "decisions" in endpoint.path else "hld_000001")
    path = path.replace("{model}", "bike-demand").replace("{rule}", "demand-is-plausible")
    return path.replace("{name}", "console.css")


def test_every_route_of_the_application_is_in_the_table(served: Served) -> None:
    routes = {
        (route.method, route.resource.canonical)
        for route in make_app(served.services).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routes == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_route_answers_to_exactly_the_roles_of_the_table(
    served: Served, endpoint: Endpoint, who: str | None
) -> None:
    answer = served.call(endpoint.method, concrete(endpoint), who)
    role = WHO[who]
    if endpoint.role is None or (role is not None and role >= endpoint.role):
        assert answer.status not in (401, 403)
        return
    if role is not None:
        assert answer.status == 403
        assert endpoint.role.word in answer.text
    elif endpoint.page and endpoint.method == "GET":
        assert (answer.status, answer.headers["Location"].split("?")[0]) == (303, "/login")
    else:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert served.changed == []


@pytest.mark.parametrize("who", ["viewer-a", "reviewer-a", "operator-a"])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_session_may_do_what_its_token_may(served: Served, endpoint: Endpoint, who: str) -> None:
    cookie = log_in(served, who)
    headers = {**cookie, "X-CSRF-Token": csrf_of(served, cookie), "Sec-Fetch-Site": "same-origin"}
    status = served.call(endpoint.method, concrete(endpoint), headers=headers).status
    role = WHO[who]
    assert role is not None
    assert (status in (401, 403)) == (endpoint.role is not None and role < endpoint.role) or (
        endpoint.name == "form_login" and status == 415
    )


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic dXNlcjpwYXNz", "bearer  ", f"Bearer {SECRETS['reviewer-a']}x", "Bearer " + "a" * 5000],
)  # fmt: skip
def test_a_wrong_authorization_is_401_without_saying_what_is_wrong(
    served: Served, authorization: str
) -> None:
    answer = served.call("GET", "/v1/holds", headers={"Authorization": authorization})
    assert answer.status == 401
    assert answer.json == served.call("GET", "/v1/holds").json


def test_a_token_in_the_query_opens_no_api(served: Served) -> None:
    assert served.call("GET", f"/v1/holds?token={SECRETS['reviewer-a']}").status == 401


def test_too_many_wrong_tokens_close_the_door_for_a_while_and_sessions_go_on(served: Served) -> None:
    cookie = log_in(served, "reviewer-a")
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [served.call("GET", "/v1/holds", headers=wrong).status for _ in range(TRIES + 5)]
    assert statuses == [401] * TRIES + [429] * 5
    locked = served.call("GET", "/v1/holds", "reviewer-a")
    assert locked.status == 429
    assert 1 <= int(locked.headers["Retry-After"]) <= WINDOW_S + 1
    assert served.call("GET", "/v1/holds", headers=cookie).status == 200
    assert served.call("GET", "/livez").status == 200
    served.at += WINDOW_S
    assert served.call("GET", "/v1/holds", "reviewer-a").status == 200


def test_a_token_in_the_consoles_address_becomes_a_cookie_and_leaves_the_address(served: Served) -> None:
    answer = served.call("GET", f"/holds/hld_000001?token={SECRETS['reviewer-a']}&a=b")
    assert (answer.status, answer.headers["Location"]) == (303, "/holds/hld_000001?a=b")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert SECRETS["reviewer-a"] not in cookie
    page = served.call("GET", "/", headers={"Cookie": cookie.split(";")[0]})
    assert page.status == 200
    again = served.call("GET", f"/?token={SECRETS['reviewer-a']}", headers={"Cookie": cookie.split(";")[0]})
    assert (again.status, again.headers["Location"]) == (303, "/")
    wrong = served.call("GET", "/?token=wrong")
    assert wrong.status == 401
    assert "Set-Cookie" not in wrong.headers


def test_logging_in_leads_back_but_never_to_another_host(served: Served) -> None:
    for goal, place in [
        ("/holds/hld_000001", "/holds/hld_000001"),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ]:
        answer = served.call(
            "POST", "/login", headers=FORM, body=urlencode({"token": SECRETS["reviewer-a"], "next": goal})
        )
        assert (answer.status, answer.headers["Location"]) == (303, place)
    assert served.call("POST", "/login", headers=FORM, body=urlencode({"token": "wrong"})).status == 401


def test_logging_out_ends_the_session(served: Served) -> None:
    cookie = log_in(served, "reviewer-a")
    body = urlencode({"csrf": csrf_of(served, cookie)})
    assert served.call("POST", "/logout", headers={**cookie, **FORM}, body=body).status == 303
    assert served.call("GET", "/v1/holds", headers=cookie).status == 401


def test_a_session_ends_after_twelve_hours(served: Served) -> None:
    cookie = log_in(served, "reviewer-a")
    served.at += LIFETIME_S
    assert served.call("GET", "/v1/holds", headers=cookie).status == 401


def decide(served: Served, headers: dict[str, str], csrf: str | None) -> Answer:
    """Approve hold 1 by the console's form."""
    fields = {"decision": "approve", "rev": "1"} | ({"csrf": csrf} if csrf is not None else {})
    return served.call(
        "POST", "/holds/hld_000001/decision", headers={**FORM, **headers}, body=urlencode(fields)
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_form_from_another_site_is_refused_even_with_a_stolen_form_token(
    served: Served, headers: dict[str, str]
) -> None:
    cookie = log_in(served, "reviewer-a")
    answer = decide(served, {**cookie, **headers}, csrf_of(served, cookie))
    assert answer.status == 403
    assert served.changed == []


def test_a_form_without_the_sessions_own_token_is_refused(served: Served) -> None:
    cookie = log_in(served, "reviewer-a")
    others = csrf_of(served, log_in(served, "reviewer-b"))
    for csrf in (None, "", "x", others, "\u00e9"):
        assert decide(served, cookie, csrf).status == 403
    assert served.changed == []
    assert decide(served, cookie, csrf_of(served, cookie)).status == 303


def test_json_by_cookie_needs_the_form_token_too(served: Served) -> None:
    cookie = log_in(served, "reviewer-a")
    headers = {**cookie, "If-Match": "1"}
    path, body = "/v1/holds/hld_000001/decision", {"decision": "approve"}
    assert served.call("POST", path, headers=headers, body=body).status == 403
    headers["X-CSRF-Token"] = csrf_of(served, cookie)
    assert served.call("POST", path, headers=headers, body=body).status == 200


def test_a_link_from_another_site_takes_one_step_from_our_own_page(served: Served) -> None:
    answer = served.call("GET", "/holds/hld_000001", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert 'url=/holds/hld_000001"' in answer.text
    assert "demand" not in answer.text


def test_without_authentication_everybody_is_an_operator_but_by_a_loopback_name_only(tmp_path: Path) -> None:
    with serve(tmp_path, tokens=NO_AUTH) as served:
        served.run(served.store.add([make_hold(1)]))
        assert served.call("GET", "/v1/holds").status == 200
        page = served.call("GET", "/")
        assert "anonymous" in page.text
        for host in ("localhost:1", "[::1]:1", "127.0.0.1"):
            assert served.call("GET", "/v1/holds", headers={"Host": host}).status == 200
        for host in ("evil.example", "127.0.0.1.evil.example", "[::1", "[::]", "0.0.0.0"):
            assert served.call("GET", "/v1/holds", headers={"Host": host}).status in (400, 403)
        assert decide(served, {}, "").status == 403
        csrf = re.search(r'name="csrf" value="([^"]+)"', served.call("GET", "/holds/hld_000001").text)
        assert csrf
        assert decide(served, {"Sec-Fetch-Site": "cross-site"}, csrf.group(1)).status == 403
        assert decide(served, {}, csrf.group(1)).status == 303


@pytest.mark.parametrize(
    "path", ["/", "/v1/holds", "/livez", "/nowhere", "/static/console.css", "/login", "/v1/holds/x"]
)
def test_every_answer_carries_the_security_headers(served: Served, path: str) -> None:
    answer = served.call("GET", path, "reviewer-a")
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in answer.headers
    expected = "public, max-age=31536000, immutable" if "static" in path else "no-store"
    assert answer.headers["Cache-Control"] == expected


@pytest.mark.parametrize(
    "path",
    ["/static/..%2f..%2fapp.py", "/static/../app.py", "/static/%00", "/static/console.css%00", "/static/", "/templates/base.html", "/static/hold.html"],
)  # fmt: skip
def test_only_packaged_static_files_are_served(served: Served, path: str) -> None:
    assert served.call("GET", path).status == 404
