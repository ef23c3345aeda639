"""MSAL for Python, by `authority` and by `oidc_authority`. One method of `Flows` is one cell of the matrix, run once for each column."""

import base64
import hashlib
import json
import os
import ssl
import threading
import unittest
import unittest.mock
import webbrowser
from pathlib import Path
from urllib.request import Request, urlopen

import certifi
import msal
import requests

from pages import Left, Page, Pages

KNOWN = json.loads(Path(os.environ["CLIENTS_FIXTURE"]).read_text())
APPS, USERS = KNOWN["apps"], KNOWN["users"]
ACCESS, PLAIN, STRICT = "api://middle/access", "api://plain/read", "api://strict/read"
CLOSED, ELSEWHERE = "api://closed/read", "api://elsewhere/read"
REDIRECT = APPS["web"]["redirect_uris"]["web"][0]
DEFAULT = ["api://plain/.default"]
C1 = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})
ROWS = {row["id"]: row for row in json.loads(Path(__file__).with_name("flows.json").read_text())}


def record(client, flow, outcome):
    with open(os.environ["CLIENTS_OUTCOMES"], "a", encoding="utf8") as outcomes:
        outcomes.write(json.dumps({"client": client, "flow": flow, "outcome": outcome}) + "\n")


def browser(username, **more):
    user = USERS[username]
    answers = {"username": user["username"], "password": user["password"], "code": user.get("otp", "")}
    return Pages(KNOWN["origin"], {**answers, **more})


def control(**command):
    """Not by `requests`, whose use of the CA is under test."""
    request = Request(
        KNOWN["origin"] + "/control",
        data=json.dumps(command).encode(),
        headers={"content-type": "application/json", "x-control": KNOWN["control"]},
    )
    with urlopen(request, timeout=30, context=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])) as answer:
        return json.load(answer)


def claims(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def rs256(name):
    """SHA-1 is what this form of the credential is found by."""
    directory = Path(KNOWN["certificates"])
    pem = (directory / f"{name}.pem").read_text()
    thumbprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    return {"thumbprint": thumbprint, "private_key": (directory / f"{name}.key").read_text()}


def ps256(name):
    directory = Path(KNOWN["certificates"])
    return {
        "private_key": (directory / f"{name}.key").read_text(),
        "public_certificate": (directory / f"{name}.pem").read_text(),
    }


class Flows:
    """What the local authority needs is in `authority`: no call to the public cloud's instance discovery."""

    column = None
    authority = None

    def confidential(self, app, credential=None):
        return msal.ConfidentialClientApplication(
            APPS[app]["client_id"], client_credential=credential or APPS[app]["secrets"][0], **self.authority
        )

    def ask(self, client, **more):
        return client.initiate_auth_code_flow([ACCESS], redirect_uri=more.pop("redirect_uri", REDIRECT), **more)

    def signed_in(self, client, pages, **more):
        flow = self.ask(client, **more)
        left = pages.go(flow["auth_uri"])
        self.assertIsInstance(left, Left)
        result = client.acquire_token_by_auth_code_flow(flow, left.parameters)
        self.assertNotIn("error", result)
        return result

    def token_of(self, username, **more):
        return self.signed_in(self.confidential("web"), browser(username), **more)["access_token"]

    def assert_refused(self, result, error, number, **more):
        self.assertEqual(result.get("error"), error, result)
        self.assertEqual(result["error_codes"], [number])
        for key, value in more.items():
            self.assertEqual(result.get(key), value)

    def on_behalf_of(self, assertion, scope, credential=None, **more):
        return self.confidential("middle", credential).acquire_token_on_behalf_of(assertion, [scope], **more)

    # What works

    def flow_sign_in_query(self):
        result = self.signed_in(self.confidential("web"), browser("alice"))
        self.assertEqual(result["id_token_claims"]["preferred_username"], USERS["alice"]["username"])
        token = claims(result["access_token"])
        self.assertEqual((token["aud"], token["scp"]), (APPS["middle"]["client_id"], "access"))

    def flow_sign_in_form_post(self):
        client, pages = self.confidential("web"), browser("alice")
        flow = self.ask(client, response_mode="form_post")
        left = pages.go(flow["auth_uri"])
        self.assertEqual(left.method, "POST")
        result = client.acquire_token_by_auth_code_flow(flow, left.parameters)
        self.assertIn("access_token", result)
        self.assertEqual(client.get_accounts()[0]["username"], USERS["alice"]["username"])

    def flow_device_code(self):
        client = msal.PublicClientApplication(APPS["device"]["client_id"], **self.authority)
        flow = client.initiate_device_flow([ACCESS])
        self.assertIn(flow["user_code"], flow["message"])
        pages = browser("alice", user_code=flow["user_code"])
        done = pages.go(flow["verification_uri"])
        self.assertIsInstance(done, Page)
        self.assertEqual((done.status, pages.shown), (200, ["deviceauth", "sign-in", "device"]))
        result = client.acquire_token_by_device_flow(flow)
        self.assertNotIn("error", result)
        token = claims(result["access_token"])
        self.assertEqual((token["azp"], token["azpacr"], token["scp"]), (APPS["device"]["client_id"], "0", "access"))
        self.assertEqual(client.get_accounts()[0]["username"], USERS["alice"]["username"])

    def flow_loopback(self):
        client = msal.PublicClientApplication(APPS["native"]["client_id"], **self.authority)

        class Person(webbrowser.BaseBrowser):
            """The default browser of this process, with alice in front of it. The client listens only once it has opened."""

            def open(self, url, new=0, autoraise=True):
                self.at_work = threading.Thread(target=self.visit, args=[url])
                self.at_work.start()
                return True

            def visit(self, url):
                left = browser("alice").go(url)
                requests.request(left.method, left.url, data=left.parameters if left.method == "POST" else None, timeout=30)

        person = Person("person")
        webbrowser.register("person", None, person, preferred=True)
        result = client.acquire_token_interactive([ACCESS], timeout=30)
        person.at_work.join()
        self.assertEqual(claims(result["access_token"])["azpacr"], "0", result)

    def flow_common(self):
        everybody = {
            key: value.replace(KNOWN["tenant"], "common") if isinstance(value, str) else value
            for key, value in self.authority.items()
        }
        app = APPS["web"]
        client = msal.ConfidentialClientApplication(app["client_id"], client_credential=app["secrets"][0], **everybody)
        first = self.signed_in(client, browser("alice"))
        self.assertEqual(claims(first["access_token"])["iss"], KNOWN["issuer"])
        account = client.get_accounts()[0]
        second = client.acquire_token_silent([ACCESS], account, force_refresh=True)
        self.assertNotEqual(second["access_token"], first["access_token"])

    def flow_consent(self):
        pages = browser("alice")
        redirect = APPS["asking"]["redirect_uris"]["web"][0]
        self.signed_in(self.confidential("asking"), pages, redirect_uri=redirect, prompt="consent")
        self.assertEqual(pages.shown, ["sign-in", "consent"])

    def flow_cache(self):
        client = self.confidential("web")
        first = self.signed_in(client, browser("alice"))
        before = control(do="counters")["token"]
        second = client.acquire_token_silent([ACCESS], client.get_accounts()[0])
        self.assertEqual(second["access_token"], first["access_token"])
        self.assertEqual(control(do="counters")["token"], before)

    def flow_refresh(self):
        client = self.confidential("web")
        first = self.signed_in(client, browser("alice"))

        def stored():
            return [entry["secret"] for entry in client.token_cache.search(msal.TokenCache.CredentialType.REFRESH_TOKEN)]

        old = stored()
        second = client.acquire_token_silent([ACCESS], client.get_accounts()[0], force_refresh=True)
        self.assertNotEqual(second["access_token"], first["access_token"])
        self.assertEqual(len(stored()), 1)
        self.assertNotEqual(stored(), old)
        self.assertIn("access_token", client.acquire_token_silent([ACCESS], client.get_accounts()[0], force_refresh=True))

    def flow_sso(self):
        client, pages = self.confidential("web"), browser("alice")
        self.signed_in(client, pages)
        self.signed_in(client, pages, prompt="none")
        self.assertEqual(pages.shown, [])

    def flow_step_up(self):
        client, pages = self.confidential("web"), browser("alice")
        before = self.signed_in(client, pages)
        self.assertNotIn("acrs", claims(before["access_token"]))
        after = self.signed_in(client, pages, claims_challenge=C1)
        self.assertEqual(pages.shown, ["mfa"])
        self.assertEqual(claims(after["access_token"])["acrs"], ["c1"])

    def exchange(self, credential, proof):
        assertion = self.token_of("alice")
        result = self.on_behalf_of(assertion, PLAIN, credential)
        token = claims(result["access_token"])
        self.assertEqual((token["aud"], token["scp"], token["azpacr"]), (APPS["plain"]["client_id"], "read", proof))
        self.assertEqual(token["oid"], claims(assertion)["oid"])

    def flow_obo_secret(self):
        self.exchange(None, "1")

    def flow_obo_ps256(self):
        self.exchange(ps256("middle"), "2")

    def flow_obo_rs256(self):
        self.exchange(rs256("middle"), "2")

    def flow_graph(self):
        client = self.confidential("web")
        flow = client.initiate_auth_code_flow(["User.Read"], redirect_uri=REDIRECT)
        result = client.acquire_token_by_auth_code_flow(flow, browser("alice").go(flow["auth_uri"]).parameters)
        headers = {"authorization": "Bearer " + result["access_token"]}
        me = requests.get(KNOWN["origin"] + "/v1.0/me", headers=headers, timeout=30).json()
        self.assertEqual(me["userPrincipalName"], USERS["alice"]["username"])
        silent = client.acquire_token_silent(["User.Read"], client.get_accounts()[0])
        self.assertEqual(silent["access_token"], result["access_token"])

    def flow_obo_after_step_up(self):
        client, pages = self.confidential("web"), browser("alice")
        weak = self.signed_in(client, pages)["access_token"]
        challenge = self.on_behalf_of(weak, STRICT)["claims"]
        strong = self.signed_in(client, pages, claims_challenge=challenge)["access_token"]
        self.assertEqual(pages.shown, ["mfa"])
        self.assertEqual(claims(self.on_behalf_of(strong, STRICT)["access_token"])["aud"], APPS["strict"]["client_id"])
        self.assert_refused(self.on_behalf_of(weak, STRICT), "interaction_required", 50076)

    def app_only(self, credential, proof):
        client = self.confidential("daemon", credential)
        result = client.acquire_token_for_client(DEFAULT)
        token = claims(result["access_token"])
        self.assertEqual((token["roles"], token.get("scp"), token["azpacr"]), (["Task.Run"], None, proof))
        self.assertEqual(client.acquire_token_for_client(DEFAULT)["token_source"], "cache")

    def flow_app_secret(self):
        self.app_only(None, "1")

    def flow_app_ps256(self):
        self.app_only(ps256("daemon"), "2")

    def flow_app_rs256(self):
        self.app_only(rs256("daemon"), "2")

    # What is refused

    def flow_obo_mfa(self):
        policy = KNOWN["policies"]["MFA for strict"]["id"]
        challenge = {"access_token": {"capolids": {"essential": True, "values": [policy]}}}
        result = self.on_behalf_of(self.token_of("alice"), STRICT)
        self.assert_refused(result, "interaction_required", 50076, suberror="basic_action")
        self.assertEqual(json.loads(result["claims"]), challenge)

    def flow_obo_context(self):
        result = self.on_behalf_of(self.token_of("alice"), PLAIN, claims_challenge=C1)
        self.assert_refused(result, "interaction_required", 50076)
        self.assertEqual(json.loads(result["claims"]), json.loads(C1))

    def flow_obo_unregistered(self):
        result = self.on_behalf_of(self.token_of("carol"), STRICT)
        self.assert_refused(result, "interaction_required", 50079, suberror="basic_action")

    def flow_obo_blocked(self):
        result = self.on_behalf_of(self.token_of("alice"), CLOSED)
        self.assert_refused(result, "invalid_grant", 53003, suberror="message_only", claims=None)

    def flow_obo_consent(self):
        result = self.on_behalf_of(self.token_of("alice"), ELSEWHERE)
        self.assert_refused(result, "invalid_grant", 65001, suberror="consent_required")

    def flow_obo_expired(self):
        client, pages = self.confidential("web"), browser("alice")
        control(do="skew", seconds=-7200)
        try:
            flow = self.ask(client)
            left = pages.go(flow["auth_uri"])
            assertion = requests.post(
                KNOWN["authority"] + "/oauth2/v2.0/token",
                data={
                    "grant_type": "authorization_code",
                    "client_id": APPS["web"]["client_id"],
                    "client_secret": APPS["web"]["secrets"][0],
                    "code": left.parameters["code"],
                    "code_verifier": flow["code_verifier"],
                    "redirect_uri": REDIRECT,
                },
                timeout=30,
            ).json()["access_token"]
        finally:
            control(do="skew", seconds=0)
        self.assert_refused(self.on_behalf_of(assertion, PLAIN), "invalid_grant", 500133)

    def flow_obo_audience(self):
        other = self.on_behalf_of(self.token_of("alice"), PLAIN)["access_token"]
        self.assert_refused(self.on_behalf_of(other, PLAIN), "invalid_grant", 500131)

    def assert_revoked(self, result):
        self.assertTrue(json.loads(result["claims"])["access_token"]["nbf"]["essential"])

    def flow_obo_revoked(self):
        assertion = self.token_of("rita")
        control(do="revoke", user="rita")
        result = self.on_behalf_of(assertion, PLAIN)
        self.assert_refused(result, "invalid_grant", 50173, suberror="bad_token")
        self.assert_revoked(result)

    def flow_refresh_revoked(self):
        client = self.confidential("web")
        self.signed_in(client, browser("rita"))
        control(do="revoke", user="rita")
        result = client.acquire_token_silent_with_error([ACCESS], client.get_accounts()[0], force_refresh=True)
        self.assert_refused(result, "invalid_grant", 50173, classification="")
        self.assert_revoked(result)

    def flow_refresh_context(self):
        client = self.confidential("web")
        self.signed_in(client, browser("alice"))
        account = client.get_accounts()[0]
        result = client.acquire_token_silent_with_error([ACCESS], account, claims_challenge=C1)
        self.assert_refused(result, "interaction_required", 50076, classification="basic_action")

    def flow_wrong_secret(self):
        result = self.confidential("daemon", "not-the-secret").acquire_token_for_client(DEFAULT)
        self.assert_refused(result, "invalid_client", 7000215)

    def flow_no_credential(self):
        client = msal.PublicClientApplication(APPS["web"]["client_id"], **self.authority)
        flow = self.ask(client)
        left = browser("alice").go(flow["auth_uri"])
        result = client.acquire_token_by_auth_code_flow(flow, left.parameters)
        self.assert_refused(result, "invalid_client", 7000218)

    def flow_wrong_certificate(self):
        result = self.confidential("daemon", ps256("middle")).acquire_token_for_client(DEFAULT)
        self.assert_refused(result, "invalid_client", 700027)

    def flow_public_with_secret(self):
        client = self.confidential("native")
        flow = self.ask(client, redirect_uri="http://localhost:50999")
        left = browser("alice").go(flow["auth_uri"])
        result = client.acquire_token_by_auth_code_flow(flow, left.parameters)
        self.assert_refused(result, "invalid_client", 700025)

    def flow_unknown_client(self):
        nobody = "c11e0000-0000-4000-8000-00000000ffff"
        client = msal.ConfidentialClientApplication(nobody, client_credential="of-nobody-known", **self.authority)
        self.assert_refused(client.acquire_token_for_client(DEFAULT), "unauthorized_client", 700016)

    def flow_wrong_redirect(self):
        page = browser("alice").go(self.ask(self.confidential("web"), redirect_uri=REDIRECT + "/")["auth_uri"])
        self.assertIsInstance(page, Page)
        self.assertEqual(page.status, 400)
        self.assertIn("AADSTS50011", page.text)

    def flow_code_reused(self):
        client = self.confidential("web")
        flow = self.ask(client)
        left = browser("alice").go(flow["auth_uri"])
        self.assertIn("access_token", client.acquire_token_by_auth_code_flow(flow, left.parameters))
        self.assert_refused(client.acquire_token_by_auth_code_flow(flow, left.parameters), "invalid_grant", 54005)

    def flow_wrong_verifier(self):
        client = self.confidential("web")
        flow = self.ask(client)
        left = browser("alice").go(flow["auth_uri"])
        other = {**flow, "code_verifier": self.ask(client)["code_verifier"]}
        self.assert_refused(client.acquire_token_by_auth_code_flow(other, left.parameters), "invalid_grant", 501481)
        self.assertIn("access_token", client.acquire_token_by_auth_code_flow(flow, left.parameters))

    def flow_wrong_state(self):
        client = self.confidential("web")
        flow = self.ask(client)
        left = browser("alice").go(flow["auth_uri"])
        with self.assertRaisesRegex(ValueError, "state mismatch"):
            client.acquire_token_by_auth_code_flow({**flow, "state": "of-another-sign-in"}, left.parameters)

    def flow_wrong_nonce(self):
        client = self.confidential("web")
        flow = self.ask(client)
        left = browser("alice").go(flow["auth_uri"])
        with self.assertRaisesRegex(RuntimeError, "nonce"):
            client.acquire_token_by_auth_code_flow({**flow, "nonce": "of-another-sign-in"}, left.parameters)

    def flow_unknown_scope(self):
        result = self.on_behalf_of(self.token_of("alice"), "api://plain/no.such")
        self.assert_refused(result, "invalid_client", 650053)
        result = self.on_behalf_of(self.token_of("alice"), "api://nobody/read")
        self.assert_refused(result, "invalid_resource", 500011)

    def flow_user_cancels(self):
        client = self.confidential("web")
        flow = self.ask(client)
        left = browser("alice", cancel=True).go(flow["auth_uri"])
        self.assertEqual(client.acquire_token_by_auth_code_flow(flow, left.parameters)["error"], "access_denied")

    def silent(self, pages, **more):
        client = self.confidential("web")
        flow = self.ask(client, prompt="none", **more)
        return client.acquire_token_by_auth_code_flow(flow, pages.go(flow["auth_uri"]).parameters)

    def flow_silent_signed_out(self):
        self.assertEqual(self.silent(browser("alice"))["error"], "login_required")

    def flow_silent_context(self):
        pages = browser("alice")
        self.signed_in(self.confidential("web"), pages)
        self.assertEqual(self.silent(pages, claims_challenge=C1)["error"], "interaction_required")


def daemon(**settings):
    app = APPS["daemon"]
    return msal.ConfidentialClientApplication(app["client_id"], client_credential=app["secrets"][0], **settings)


class ByAuthority(Flows, unittest.TestCase):
    column = "msal-python AAD"
    authority = {"authority": KNOWN["authority"], "instance_discovery": False}

    def flow_setting(self):
        by_domain = KNOWN["authority"].replace(KNOWN["tenant"], "contoso.example")
        for settings in (
            {"authority": by_domain, "instance_discovery": False},
            {"authority": KNOWN["authority"], "validate_authority": False},
            {"authority": KNOWN["authority"], "instance_discovery": KNOWN["origin"] + "/common/discovery/instance"},
        ):
            self.assertIn("access_token", daemon(**settings).acquire_token_for_client(DEFAULT), settings)

    def flow_wrong_setting(self):
        for authority, reason in (
            (KNOWN["issuer"], "Unable to get authority configuration"),
            (KNOWN["authority"] + "/", "Unable to get authority configuration"),
            (KNOWN["authority"].replace("https", "http"), "https"),
            (KNOWN["origin"], "tenant"),
        ):
            with self.assertRaisesRegex(ValueError, reason):
                daemon(authority=authority, instance_discovery=False)
        # The variable wins over the argument.
        ca = os.environ["REQUESTS_CA_BUNDLE"]
        with unittest.mock.patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": certifi.where()}):
            with self.assertRaises(requests.exceptions.SSLError):
                daemon(authority=KNOWN["authority"], instance_discovery=False, verify=ca)


class ByOidcAuthority(Flows, unittest.TestCase):
    column = "msal-python OIDC"
    authority = {"oidc_authority": KNOWN["issuer"]}

    def flow_wrong_issuer(self):
        other = KNOWN["issuer"].replace("localhost", "127.0.0.1")
        with self.assertRaisesRegex(ValueError, "issuer"):
            daemon(oidc_authority=other)

    def flow_wrong_setting(self):
        for authority in (KNOWN["issuer"] + "/", KNOWN["issuer"].replace("https", "http")):
            with self.assertRaises(ValueError):
                daemon(oidc_authority=authority)


def cell(column, method):
    """A test of unittest's that writes its outcome down."""
    flow = method.removeprefix("flow_").replace("_", "-")
    row = ROWS[flow]

    def test(self):
        record(column, flow, "begun")
        try:
            getattr(self, method)()
        except BaseException:
            record(column, flow, "failed")
            raise
        record(column, flow, "refused" if row.get("refused") else "ok")

    test.__doc__ = f"{column}: {row['words']}"
    return test


def fill(case):
    for method in [name for name in dir(case) if name.startswith("flow_")]:
        setattr(case, method.replace("flow_", "test_", 1), cell(case.column, method))


fill(ByAuthority)
fill(ByOidcAuthority)

if __name__ == "__main__":
    unittest.main()
