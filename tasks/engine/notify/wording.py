"""Word messages: what happened, since when, what it means and which command comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blocks.config import DEFAULT
from tasks.engine.notify.facts import Facts
from tasks.engine.notify.incidents import Incident, Observation, Subject
from tasks.engine.notify.message import Kind, Message, Named, Severity, identity, title_of, told
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import counted
from tasks.engine.wording import human_age, iso, tool_version


@dataclass(frozen=True)
class _Words:
    bad: str
    good: str
    command: str


_WORDS = {
    Subject.BACKUP: _Words("Backup failed", "Backups work again", "check"),
    Subject.DRILL: _Words("Drill FAILED", "Drills prove backups again", "drill"),
    Subject.PRUNE: _Words("Old backups could not be removed", "Old backups are removed again", "prune --dry-run"),
    Subject.SERVICE: _Words("The service does not start", "The service runs again", "check"),
    Subject.OVERDUE: _Words("Backups are overdue", "Backups are on time again", "backup"),
    Subject.UNPROVEN: _Words("No backup was proven for too long", "Backups are proven again", "drill"),
    Subject.ANOMALY: _Words("A backup looks odd", "Backups look as usual again", "list"),
    Subject.COPIES: _Words("A place lacks backups", "All places have all backups again", "copy"),
    Subject.KEYS: _Words("Backups can't be opened", "The keys open all backups again", "key check"),
}
_INCONCLUSIVE = "Drill INCONCLUSIVE"
_MOST_NAMED = 5


def _of_which(facts: Facts) -> str:
    """Name the databases of a whole server that have none."""
    without = sorted(name for name, part in facts.parts.items() if part.newest is None)
    more = f" and {len(without) - _MOST_NAMED} more" if len(without) > _MOST_NAMED else ""
    return f" of {', '.join(without[:_MOST_NAMED])}{more}" if without else ""


@dataclass(frozen=True)
class Writer:
    """Write a plan's messages; `place` tells its bucket from others', `facts` are None if that can't be read.

    `wrong` are the variables of channels that can't be told.
    """

    plan: str
    place: str
    now: datetime
    facts: Facts | None = None
    wrong: tuple[str, ...] = ()

    def of_incident(self, kind: Kind, after: Incident, seen: Observation | None, before: Message | None) -> Message:
        """Write what is told of an incident; a reminder without a new observation repeats what was told `before`."""
        words, lasted = _WORDS[after.subject], self.now - after.since
        if kind == "recovered":
            failed = f", with {counted(after.failures, 'failure')}" if after.failures else ""
            what, code, hint, title = f"It lasted {human_age(lasted)}{failed}", "", "", words.good
        else:
            fresh = seen if seen and seen.bad else None
            what, code, hint = (
                (fresh.sentence, fresh.code, fresh.hint)
                if fresh
                else (before.what, before.code, before.hint)
                if before
                else ("", "", "")
            )
            title = _INCONCLUSIVE if after.subject is Subject.DRILL and after.severity == "warning" else words.bad
        day = lasted.days if kind == "reminder" else 0
        return self._message(
            kind, after.subject, title, what, "info" if kind == "recovered" else after.severity, code=code, hint=hint,
            id=identity(self.place, self.plan, after.key, kind, after.severity, iso(after.since), day, *after.parts), since=after.since,
            failures=after.failures, lasted_seconds=int(lasted.total_seconds()),
            next="" if kind == "recovered" else self._command(words.command),
        )  # fmt: skip

    def of_run(self, kind: Kind, verb: str, what: str, *, code: str = "", hint: str = "", key: str = "") -> Message:
        """Write of one run: that it succeeded, or that a restore, which nothing repeats, failed."""
        title = f"{verb.replace('-', ' ').capitalize()} {kind}"
        return self._message(
            kind, verb, title, what, "error" if kind == "failed" else "info", code=code, hint=hint,
            id=identity(self.place, self.plan, verb, kind, key or iso(self.now)),
            next=self._command("list") if kind == "failed" else "",
        )  # fmt: skip

    def test(self, nonce: str) -> Message:
        """Write a message that says nothing but that messages arrive."""
        what = "This is a test: messages of pg-roundtrip arrive here"
        return self._message("test", "test", "Test", what, "info", id=identity("test", nonce))

    def _message(self, kind: Kind, subject: str, title: str, what: str, severity: Severity, **more: object) -> Message:
        reminder = "Reminder: " if kind == "reminder" else ""
        facts = self.facts
        texts = {name: told(str(more.pop(name, ""))) for name in ("hint",)}
        return Message.model_validate({
            "schema": 1, "kind": kind, "subject": subject, "severity": severity, "plan": self.plan, "at": self.now,
            "title": title_of(f"{reminder}{title} ({self.plan})"), "what": told(what), **texts,
            "means": "" if kind in ("succeeded", "test") else self._means(more.get("since")) + self._left_out(),
            "newest_backup": self._named(facts.newest) if facts else None,
            "newest_proven": self._named(facts.proven) if facts else None,
            "tool_version": tool_version(), **more,
        })  # fmt: skip

    def _means(self, since: object) -> str:
        begun = f"Since {iso(since)}. " if isinstance(since, datetime) else ""
        if self.facts is None:
            return f"{begun}The bucket can't be read, so which backups are there is not known."
        newest, proven = self.facts.newest, self.facts.proven
        if newest is None:
            return f"{begun}There is no backup{_of_which(self.facts)}."
        said = f"Newest backup: {newest.name}, {human_age(self.now - newest.taken_at)} old. "
        if proven is None:
            return f"{begun}{said}No backup is PROVEN."
        return f"{begun}{said}Newest PROVEN backup: {proven.name}, {human_age(self.now - proven.taken_at)} old."

    def _left_out(self) -> str:
        return f" Invalid, so left out: {', '.join(self.wrong)}." if self.wrong else ""

    def _named(self, backup: Backup | None) -> Named | None:
        if backup is None:
            return None
        age_seconds = max(0, int((self.now - backup.taken_at).total_seconds()))
        return Named(name=backup.name, taken_at=backup.taken_at, age_seconds=age_seconds)

    def _command(self, verb: str) -> str:
        option = "" if self.plan == DEFAULT else f" --plan {self.plan}"
        return f"pg-roundtrip {verb}{option}"
