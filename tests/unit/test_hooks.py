"""Hooks come from the environment alone, see nothing secret of ours in theirs, and run when they should."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.hook_settings import HookSettings
from blocks.config.hooks import environment_for_hooks, load_hooks, withheld_from_hooks
from blocks.config.load import misspelled, variable_of
from blocks.config.plan import Plan
from blocks.config.secrets import Mask, mask_of
from blocks.errors import ConfigurationError, HookFailed, PgRoundtripError, PrefectUnreachable
from blocks.plan import BackupPlan
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import application_url, parse_database_url
from flows.deployments import _FLOWS, deployments_of
from flows.runs import hooks as around
from tasks.engine.drill.own_check import NAME, judged, require_own_check
from tasks.engine.hook import Hook, HookEnd
from tasks.engine.repository.manifest import Verdict
from tasks.hooks import Occasion, _of_database, at_end
from tasks.outcome import Outcome, failed
from tests.markdown import ROOT

HOOKS = {variable_of(field) for field in HookSettings.model_fields}
STORE = ObjectStore.at(
    endpoint="https://s3.example.com", bucket="kept", prefix="in/here", key_id="AKIA", secret=SecretStr("s3/secret+key"),
)  # fmt: skip
PLAN = Plan.of("shop", STORE, Server(SecretStr("postgresql://app:p%40ss%2Fword@db:6432/shop")))


# --- where they come from ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", _FLOWS)
def test_no_parameter_of_a_flow_is_a_command(flow: str) -> None:
    """Whoever can start a run, or fill in a form, can't choose what it executes."""
    known = {
        "plan",
        "backup",
        "target",
        "dry_run",
        "even_if_stale",
        "replace",
        "verify",
        "globals_mode",
        "plans",
        "every",
    }
    assert set(_FLOWS[flow].parameters.properties) <= known


def test_no_form_of_a_plan_has_a_command() -> None:
    """A saved plan is edited in the Prefect UI: neither its form nor what it turns into has a hook."""
    ours = set(HookSettings.model_fields)
    assert not ours & set(BackupPlan.model_fields)
    assert not {
        name for name in (*BackupPlan.model_fields, *vars(PLAN), *vars(PLAN.drill)) if "hook" in name or "check" in name
    }


def test_no_deployment_hands_one_on() -> None:
    """What Prefect's server stores for a worker names no hook, in job variables neither."""
    for deployment in asyncio.run(deployments_of("shop", PLAN, pool="workers")):
        assert not deployment.job_variables
        assert not [name for name in HOOKS if name in deployment.model_dump_json(exclude={"flow"})]


def test_hooks_alone_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose plans are saved needs no other variable, and an invalid one of those is not the hooks' business."""
    assert load_hooks().model_dump() == HookSettings().model_dump()
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.setenv("POST_BACKUP_HOOK", "curl -fsS 'https://example.com/a b'")
    monkeypatch.setenv("HOOK_TIMEOUT", "7")
    hooks = load_hooks()
    assert hooks.post_backup_hook == SecretStr("curl -fsS 'https://example.com/a b'")
    assert (hooks.hook_timeout_s, "example.com" in repr(hooks)) == (7, False)
    monkeypatch.setenv("ON_FAILURE_HOOK", "'")
    with pytest.raises(ConfigurationError) as caught:
        load_hooks()
    assert [problem.message for problem in caught.value.problems] == ["Invalid ON_FAILURE_HOOK format"]


def test_a_misspelt_hook_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would never run, and nobody would notice."""
    monkeypatch.setenv("POST_BACKUP_HOOKS", "true")
    monkeypatch.setenv("HOOK_TOKEN", "mine")
    assert misspelled() == {"POST_BACKUP_HOOKS": "POST_BACKUP_HOOK"}


# --- what they see ----------------------------------------------------------------------------------------------------

OURS = {
    "DATABASE_URL": "postgresql://app:from-the-url@db/shop", "S3_SECRET_ACCESS_KEY": "s3-secret-word", "S3_BUCKET": "kept", "BUCKET_NAME": "kept",
    "EVIDENCE_KEY": "not-even-valid", "WEBHOOK_SECRET": "whsec_word", "WEBHOOK_URL": "https://hooks.example.com/services/T0/B0/xyz",
    "NOTIFY_URLS": "mailto://me:mail-word@example.com json://other:json-word@example.com", "UI_PASSWORD": "ui-word", "S3_SESSION_TOKEN": 'per"son\\dä', "PREFECT_API_KEY": "pnu_word",
    "PREFECT_API_AUTH_STRING": "admin:prefect-word", "POST_BACKUP_HOOK": "sh -c 'env; : t0ken'", "PG_ROUNDTRIP_SERVED": "1",
}  # fmt: skip
COPIES = {
    "DATABASE_PRIVATE_URL": "postgres://other:from-the-url@private/shop",
    "DB_PASSWORD": "p@ss/word",
    "ENCODED": "p%40ss%2Fword",
    "KEY": "s3/secret+key",
    "DSN": "host=db user=other password='p@ss/word' dbname=shop",
    "JDBC_URL": "jdbc:postgresql://db/shop?user=app&password=p%40ss%2fword&ssl=true",
    "PARTLY_ENCODED": "postgres://app:p%40ss/word@db/shop",
    "COMMAND": "aws --key=s3/secret+key",
    "SERVICES": r'{"db": {"password": "per\"son\\d\u00e4"}}',
    "SERVICES_TOO": r'{"db": {"password": "per\"son\\dä"}}',
}
THEIRS = {"TZ": "Europe/Berlin", "APP_ENV": "production", "HOOK_URL": "postgresql://app:from-the-url@db/shop"}


def test_the_environment_of_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's variables stay; our settings, Prefect's, and copies of our secrets don't, unless named for hooks."""
    for name, value in {**OURS, **COPIES, **THEIRS}.items():
        monkeypatch.setenv(name, value)
    seen = environment_for_hooks(mask_of(PLAN))
    assert {name: seen.get(name) for name in THEIRS} == THEIRS
    assert not (OURS | COPIES).keys() & seen.keys()
    assert "PATH" in seen
    assert withheld_from_hooks(mask_of(PLAN)) == sorted(COPIES)


KEY = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))).decode()
HALVES = (KEY[:32], KEY[32:])
PEM = "-----BEGIN PRIVATE KEY-----", KEY, "-----END PRIVATE KEY-----"


@pytest.mark.parametrize(("ours", "copy"), [
    # A database's URL ends its password at the @, whatever else is in it.
    ("postgresql://app:pa?ss#word@db.example.com/shop", "pa?ss#word"), ("postgresql://app:s[harp]x@db/shop", "s[harp]x"),
    ("postgresql://app:s[harp]x@db/shop", "postgres://other:s%5Bharp%5Dx@db.internal/other"),
    ("postgresql+asyncpg://app:pa?ss#w%40rd@db/shop", "pa?ss#w@rd"), ("postgresql://app:pa ss#word@db/shop", "x pa ss#word x"),
    ("postgresql://app@db/shop?password=p%26ss%23w", "p&ss#w"), ("postgresql://app@db/shop?sslpassword=o?pen#me", "o?pen#me"),
    ("postgresql:///?host=db&dbname=shop&password=p%26ss%23w", "p&ss#w"),
    # Also one that no run accepts: hooks hear of that run.
    ("postgresql://app:pa/ss?word@db/shop", "pa/ss?word"), ("postgresql://app:p@ss?word@db", "p@ss?word"), ("postgresql://app:pa?ss#word@db", "pa?ss#word"),
    # As connection strings and shells write it.
    (r"postgresql://app:pa'ss\\wo rd@db/shop", r"host=db password='pa\'ss\\wo rd'"), ("postgresql://app:pa%20ss%27w@db/shop", r"host=db password=pa\ ss\'w"),
    ("postgresql://app:pa?ss#word@db/shop", "host=db password=pa?ss#word user=app"), ("pa:ss\\word", r"db:5432:*:app:pa\:ss\\word"),
    # Services want a token in any part of an address.
    ("tgram://123456789:AAEhBOweik6ad9r_QXM/123", "AAEhBOweik6ad9r_QXM"), ("tgram://123456789:AAEhBOweik6ad9r_QXM/123", "123456789:AAEhBOweik6ad9r_QXM"),
    ("slack://T1JJ3T3L2/A1BRTD4JD/TokenCCCC3", "TokenCCCC3"), ("slack://bot@T1JJ3T3L2/A1BRTD4JD/TokenCCCC3/#general", "T1JJ3T3L2"),
    ("mailtos://smtp.example.com?user=me&pass=mailsecret1", "mailsecret1"), ("mailtos://smtp?user=me&pass=mail%20secret#1", "mail secret#1"),
    ("https://chat.example.com/hook?token=querysecret1", "querysecret1"), ("https://chat.example.com/services/T0a?token=correcthorse", "correcthorse"),
    ("https://hc-ping.com/4f6b8c1e-9d2a-4b7e-8f3c-5a6d7e8f9a0b", "4f6b8c1e-9d2a-4b7e-8f3c-5a6d7e8f9a0b"),
    ("https://hooks.example.com/T0[a]bc12/x", "T0[a]bc12"), ("ntfy://correcthorse", "correcthorse"), ("https://ntfy.sh/correcthorse", "correcthorse"),
    ("json://me:pa?ss#w@example.com,tgram://123456789:AAEhBOweik6ad9r_QXM/123", "pa?ss#w"), ("jsons://example.com/?+Authorization=Bearer%20abc123def", "abc123def"),
    ("pover://user@azKj4GFDf9x", "azKj4GFDf9x"), ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    # A key may have other lines.
    ("".join(PEM), "\n".join(PEM)), ("\\n".join(PEM), "\n".join(PEM)), ("\n".join(PEM), KEY), (KEY, "\n".join(HALVES)), (KEY, "\\n".join(HALVES)),
    (base64.b64encode("\n".join(PEM).encode()).decode(), "\n".join(PEM)), ("\n".join((PEM[0], *HALVES, PEM[2])), KEY),
])  # fmt: skip
def test_what_is_secret_in_a_secret(ours: str, copy: str) -> None:
    """A variable with only that is kept from hooks, and it is masked in what they print."""
    mask = Mask([ours])
    assert mask.hides(f"x{copy}x")
    if KEY[:20] not in copy or KEY in copy:  # what is printed is masked line by line
        assert "***" in mask(copy)


@pytest.mark.parametrize(("ours", "theirs"), [
    ("https://hooks.example.com/services/T0AAAAAAA/xyz12345", ["hooks.example.com", "services"]),
    ("https://prod-01.westus.logic.azure.com:443/workflows/0a1b2c3d4e5f/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sig=xyz1234", [
        "prod-01.westus.logic.azure.com", "workflows", "triggers", "2016-06-01", "/triggers/manual/run"]),
    ("mailtos://postgres:mailsecret1@example.com?to=operators@example.com&from=postgres", ["postgres", "example.com", "operators@example.com"]),
    ("json://alertmanager:9093/hooks/0a1b2c3d4e5f", ["alertmanager"]), ("matrix://me:correcthorse@matrix.example.com/operators", ["matrix.example.com", "operators"]),
    ("postgresql://postgres:correcthorse@warehouse:5432/warehouse?sslmode=verify-full", ["postgres", "warehouse", "verify-full"]), (KEY, [KEY[:20]]),
])  # fmt: skip
def test_what_is_no_secret_in_a_secret(ours: str, theirs: list[str]) -> None:
    """A hook keeps the variables that only name a host, a user or a mail address, and the log says these."""
    mask = Mask([ours])
    assert [text for text in theirs if mask.hides(text) or mask(text) != text] == []


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=20))
def test_no_password_is_missed(password: str) -> None:
    """Whatever a URL is accepted with as a password is found alone."""
    url = f"postgresql://app:{password}@db/shop"
    try:
        read = parse_database_url(url)[0].get("password", "")
    except ValueError:
        return
    for form in (read, password) if len(read) >= 4 else ():
        assert Mask([url]).hides(form)


def test_the_login_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password is a secret without the user, too."""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:prefect-word")
    assert mask_of(None).hides("prefect-word")
    assert not mask_of(None).hides("admin")


def test_a_password_that_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are found and have a home even if a path has the word in it; and no other key looks like ours."""
    ours, theirs = (f"-----BEGIN PRIVATE KEY-----\n{body * 16}\n-----END PRIVATE KEY-----" for body in "ab")
    kept = {"PATH": "/usr/lib/postgresql/16/bin:/bin", "HOME": "/var/lib/postgres", "TLS_KEY": theirs}
    for name, value in {**kept, "COPY": f"x {ours}", "LOGIN": "user=postgres"}.items():
        monkeypatch.setenv(name, value)
    mask = Mask(["postgres", ours])
    assert environment_for_hooks(mask).items() >= kept.items()
    assert {"COPY", "LOGIN"} <= set(withheld_from_hooks(mask))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=20), st.text(max_size=20), st.data())
def test_a_secret_is_found_anywhere(secret: str, around: str, data: st.DataObject) -> None:
    """Whatever is around it, and whichever of its characters are URL-encoded, or written as in JSON."""
    encoded = "".join(quote(c, safe="") if data.draw(st.booleans()) else quote(c, safe=c) for c in secret)
    for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)):
        assert Mask([secret]).hides(f"{around}{form}{around}")
    if "%" not in secret:
        assert Mask([secret]).hides(encoded)


def test_what_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every secret of the environment and of the plan is; a word of a hook's own command is not."""
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    mask = mask_of(PLAN)
    words = ["from-the-url", "s3-secret-word", "not-even-valid", "whsec_word", "mail-word", "json-word", "ui-word", "pnu_word", "p@ss/word",
             "p%40ss%2Fword", "s3/secret+key", "s3%2Fsecret%2Bkey", "/services/T0/B0/xyz", *(OURS[n] for n in ("DATABASE_URL", "WEBHOOK_URL"))]  # fmt: skip
    assert [word for word in words if mask(f"a {word} b") != "a *** b"] == []
    assert mask("sh env t0ken kept 1") == "sh env t0ken kept 1"
    assert "word" not in repr(mask)


@given(st.lists(st.text(min_size=4, max_size=30), max_size=4), st.text(max_size=50))
def test_a_secret_never_stays(secrets: list[str], text: str) -> None:
    """Whatever a secret is made of, neither it nor its encoded form is left."""
    mask = Mask(secrets)
    for secret in secrets:
        for form in (secret, quote(secret, safe="")):
            left = mask(f"{text}{form}{text}")
            assert form not in left or form in "***"


@pytest.mark.parametrize("parameters", [
    {"host": "db", "port": "6432", "user": "app", "password": "p@ss/w:rd %", "dbname": "sh op", "sslmode": "require"},
    {"host": "/run/a b", "port": "5432", "user": "postgres", "password": "x", "dbname": "verify_1"},
    {"host": "::1", "user": "app", "dbname": "ä?"}, {"host": "a,b", "port": "1,2", "dbname": "x"}, {"hostaddr": "127.0.0.1", "dbname": "x"},
])  # fmt: skip
def test_the_url_of_a_copy(parameters: dict[str, str]) -> None:
    """Whatever the address is made of, libpq reads the same from the URL."""
    assert parse_database_url(application_url(parameters)) == (parameters, [])


def test_where_applications_look() -> None:
    """Login, host and port are where they usually are, and a socket where drivers expect it."""
    shop = {"host": "db", "port": "6432", "user": "app", "password": "p@ss", "dbname": "shop", "sslmode": "require"}
    assert application_url(shop) == "postgresql://app:p%40ss@db:6432/shop?sslmode=require"
    socket = {"host": "/run/x", "port": "5432", "user": "postgres", "dbname": "shop"}
    assert application_url(socket) == "postgresql://postgres@/shop?host=%2Frun%2Fx&port=5432"


def test_every_variable_is_documented() -> None:
    """The table in docs/hooks.md has what hooks are told, and nothing else."""
    sources = [ROOT / "tasks" / "hooks.py", ROOT / "tasks" / "engine" / "drill" / "own_check.py"]
    set_by_us = {name for path in sources for name in re.findall(r"PG_ROUNDTRIP_[A-Z_]+", path.read_text())}
    rows = re.findall(r"^\| (`PG_ROUNDTRIP_.*?) \|", (ROOT / "docs" / "hooks.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"PG_ROUNDTRIP_[A-Z_]+", row)} == set_by_us
    assert len(set_by_us) > 15


def test_where_a_hook_finds_the_database() -> None:
    """The address is complete even if the URL is not, and a URL that a form took as it was is no trouble of hooks."""
    whole = Plan.of("shop", STORE, Server(SecretStr("postgresql://app@/shop?hostaddr=127.0.0.1")))
    assert _of_database(whole) == {"PG_ROUNDTRIP_HOST": "127.0.0.1", "PG_ROUNDTRIP_PORT": "5432"}
    assert _of_database(Plan.of("shop", STORE, Server(SecretStr("nonsense")))) == {}


def test_what_is_told_is_bounded() -> None:
    """A server's own words reach a hook on one line, without control characters, and not without end."""
    error = PgRoundtripError("x\x1b[2J\n" + "y" * 5000)
    values = at_end(failed("backup", "shop", error), PLAN).values
    assert values["PG_ROUNDTRIP_STATUS"] == "failed"
    assert r"[x\x1b[2J y" in values["PG_ROUNDTRIP_MESSAGE"]
    assert len(values["PG_ROUNDTRIP_MESSAGE"]) == 1_000


# --- when they run ----------------------------------------------------------------------------------------------------


class Recorder:
    """Stands in for the task that runs a hook: what is tried here is only when that happens."""

    def __init__(self, failing: str = "") -> None:
        self.ran: list[tuple[str, str]] = []
        self._failing = failing

    def __call__(self, name: str, _hooks: HookSettings, _plan: Plan | None, occasion: Occasion) -> None:
        self.ran.append((name.removesuffix("_hook"), occasion.values.get("PG_ROUNDTRIP_STATUS", "")))
        if name.removesuffix("_hook") == self._failing:
            raise HookFailed if name == "pre_backup_hook" else OSError

    fn = __call__


def run_of(
    verb: str, end: Outcome[Any] | BaseException, patched: pytest.MonkeyPatch, failing: str = "", **given: Any
) -> Recorder:
    """Run a flow's function with every hook set, and return which ones ran."""
    recorder = Recorder(failing)
    patched.setattr(around, "run_hook", recorder)
    patched.setattr(around, "_found", lambda _: PLAN)
    for name in HOOKS - {"HOOK_TIMEOUT", "PRE_BACKUP_HOOK_REQUIRED"}:
        patched.setenv(name, "true")

    def function(plan: str = "shop", dry_run: bool = False) -> Outcome[Any]:
        if isinstance(end, BaseException):
            raise end
        return end

    function.__name__ = verb
    with contextlib.suppress(HookFailed, type(end) if isinstance(end, BaseException) else HookFailed):
        around.with_hooks(function)(**given)
    return recorder


DRILLED: dict[Verdict, Outcome[None]] = {
    verdict: Outcome("restore-drill", "shop", "said", verdict=verdict) for verdict in Verdict
}
PRUNED = Outcome[None]("prune", "shop", "said")
MADE = Outcome[None]("backup", "shop", "said")
PRE, POST, POST_FAILED, FAILED = (
    ("pre_backup", ""),
    ("post_backup", "succeeded"),
    ("post_backup", "failed"),
    ("on_failure", "failed"),
)


@pytest.mark.parametrize(("verb", "end", "ran"), [
    ("backup", MADE, [PRE, POST]), ("backup", PgRoundtripError(), [PRE, POST_FAILED, FAILED]), ("backup", ZeroDivisionError(), [PRE, POST_FAILED, FAILED]),
    ("backup", SystemExit(143), [PRE, ("post_backup", "stopped")]), ("backup", KeyboardInterrupt(), [PRE, ("post_backup", "stopped")]),
    ("prune", PRUNED, []), ("prune", PgRoundtripError(), [FAILED]), ("restore", PgRoundtripError(), [FAILED]), ("prune", SystemExit(143), []),
    ("restore_drill", DRILLED[Verdict.PROVEN], [("post_drill", "succeeded")]), ("restore_drill", PgRoundtripError(), [FAILED]),
    ("restore_drill", DRILLED[Verdict.FAILED], [("post_drill", "failed"), FAILED]), ("restore_drill", KeyboardInterrupt(), []),
    ("restore_drill", DRILLED[Verdict.INCONCLUSIVE], [("post_drill", "failed"), FAILED]),
])  # fmt: skip
def test_which_hooks_run(
    verb: str, end: Outcome[Any] | BaseException, ran: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was prepared before a backup is always followed up, and a stop is no failure."""
    assert run_of(verb, end, monkeypatch).ran == ran


def test_hooks_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what goes before it there is no backup; what comes after it costs nothing, not even by a fault of ours."""
    assert run_of("backup", MADE, monkeypatch, failing="pre_backup").ran == [PRE, POST_FAILED, FAILED]
    assert run_of("backup", MADE, monkeypatch, failing="post_backup").ran == [PRE, POST]
    assert run_of("prune", PRUNED, monkeypatch, dry_run=True).ran == []


def test_a_run_without_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails by itself: nothing is prepared, and only the failure is told."""
    recorder = Recorder()
    with monkeypatch.context() as patched:
        run_of("prune", PRUNED, patched)
        patched.setattr(around, "run_hook", recorder)
        patched.setattr(around, "_found", lambda _: None)

        @around.with_hooks
        def backup(plan: str = "nowhere") -> Outcome[None]:
            raise ConfigurationError([])

        with pytest.raises(ConfigurationError):
            backup()
    assert recorder.ran == [FAILED]


@pytest.mark.parametrize("back", [True, False])
def test_a_hook_is_not_skipped_because_prefect_is_away(back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the plan could not be read at first, it is read again before the hook; without the hook there is no backup."""
    recorder, taken = Recorder(), []

    def resolve(name: str, _: object) -> Plan:
        if back:
            return PLAN
        raise PrefectUnreachable(name)

    @around.with_hooks
    def backup(plan: str = "shop") -> Outcome[None]:
        taken.append(plan)
        return MADE

    monkeypatch.setenv("PRE_BACKUP_HOOK", "true")
    monkeypatch.setenv("ON_FAILURE_HOOK", "true")
    monkeypatch.setattr(around, "run_hook", recorder)
    monkeypatch.setattr(around, "_found", lambda _: None)
    monkeypatch.setattr(around, "resolve_plan", resolve)
    with contextlib.nullcontext() if back else pytest.raises(PrefectUnreachable):
        backup()
    assert (taken, recorder.ran) == ((["shop"], [PRE]) if back else ([], [FAILED]))


# --- the test of a restored copy --------------------------------------------------------------------------------------

HOOK = Hook("POST_RESTORE_CHECK", ("/app/test.sh",), {}, 1, Mask([]))


@pytest.mark.parametrize(("end", "usual", "strict"), [
    (HookEnd(), "passed", "passed"), (HookEnd("it failed"), "warning", "failed"), (HookEnd("it never ran", ran=False), "not possible", "not possible"),
])  # fmt: skip
def test_what_a_test_says(end: HookEnd, usual: str, strict: str) -> None:
    """What it found counts as VERIFY_STRICT says; that it couldn't be made says nothing, and is never a failed check."""
    for demanding, result in ((False, usual), (True, strict)):
        made = judged(end, HOOK, strict=demanding)
        assert (made.name, made.result) == (NAME, result)
        if demanding and result == "not possible":
            with pytest.raises(HookFailed, match="it never ran"):
                require_own_check([made], strict=True)
        else:
            require_own_check([made], strict=demanding)
    require_own_check([], strict=True)


def test_a_command_is_no_part_of_what_is_shown() -> None:
    """Its arguments may hold a token, its environment anything."""
    shown: Mapping[str, object] = {"hook": HOOK, "named": Hook("A", ("x", "t0ken"), {"A": "t0ken"}, 1, Mask(["t0ken"]))}
    assert "t0ken" not in repr(shown)
